"""What feeds a processor: one driver each for the embedded log, Kafka by aiokafka, and Kafka by Faust."""
