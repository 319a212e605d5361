token = "CANARY-TOKEN
site  = "main"
