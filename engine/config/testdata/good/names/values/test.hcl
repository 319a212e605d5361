tenant  = "North"
zone    = "loses to a later flag"
headers = { loses = "x" }
