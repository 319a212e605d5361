base_url = "https://ehr.example"
