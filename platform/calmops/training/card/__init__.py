"""These modules measure a release for its model card and word the card."""
