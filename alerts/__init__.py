"""What is promised to users, and who is told when it isn't kept: objectives, windows, receivers, and what is generated from them."""
