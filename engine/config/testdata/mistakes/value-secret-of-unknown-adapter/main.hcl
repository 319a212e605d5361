source "reste" "clinic" { token = "CANARY-LITERAL" }

destination "webhok" "clinic" { token = "CANARY-LITERAL" }
