"""Carries records from the gateway to the meter: publisher, ring, spool and Kafka."""
