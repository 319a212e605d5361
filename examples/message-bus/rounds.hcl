# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

source "rest" "clinic" {
  base_url = env("EHR_URL")

  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }
}

# A stream of JetStream. It has to be there: nats stream add EHR --subjects "ehr.>" --dupe-window 1h
destination "nats" "events" {
  servers = [env("NATS_URL")]
  subject = "ehr.{pipeline}.{deliver}"
  stream  = "EHR"
  auth "basic" {
    username = "rounds"
    password = secret("nats_password")
  }
}

# A topic of Kafka. It has to be there: kafka-topics.sh --create --topic ehr.appointments --partitions 4
destination "kafka" "log" {
  brokers = [env("KAFKA_BROKER")]
  topic   = "ehr.appointments"
  auth "scram-sha-512" {
    username = "rounds"
    password = secret("kafka_password")
  }
}

pipeline "appointments" {
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "2s"
    overlap = "30s"
    start   = "now"
  }
  deliver "changed" {
    to       = destination.nats.events
    map      = "appointment.js"
    order_by = change.data.patientID
  }
  deliver "log" {
    to       = destination.kafka.log
    map      = "appointment.js"
    order_by = change.data.patientID # the key of the record
  }
}
