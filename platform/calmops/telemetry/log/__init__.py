"""The log of records: ring, spool, Kafka, and the publisher that the gateway calls."""
