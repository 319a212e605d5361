adapter "orthanc" {
  path = "./orthanc"
}

source "orthank" "pacs" {
  url = "https://pacs.example"
}

source "rset" "clinic" {
  base_url = "https://ehr.example"
}

source "athena" "clinic" {
  base_url = "https://ehr.example"
}

destination "webhok" "scheduling" {
  url = "https://receiver.example"
}

destination "kafka" "scheduling" {
}
