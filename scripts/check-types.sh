#!/bin/sh
# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

# Checks rounds.d.ts with the TypeScript compiler: the declarations themselves, that types.ts compiles and what is marked in
# it as wrong is refused, the mappings of the tests against them, and what "rounds init" writes. Needs npm and go.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm install --silent --no-audit --no-fund --prefix "$work" typescript@5.9.3
cat >"$work/tsconfig.json" <<END
{
  "compilerOptions": {
    "strict": true, "noEmit": true, "target": "es2022", "lib": ["es2023"], "types": [],
    "module": "esnext", "moduleResolution": "bundler", "allowJs": true, "checkJs": true
  },
  "include": [
    "$root/scripts/rounds.d.ts", "$root/scripts/testdata", "$root/engine/script/testdata/**/*.ts",
    "$root/engine/script/testdata/**/*.js"
  ]
}
END
"$work/node_modules/.bin/tsc" --project "$work/tsconfig.json"
(cd "$root" && go run ./cmd/rounds init "$work/starter" >"$work/log")
"$work/node_modules/.bin/tsc" --project "$work/starter/tsconfig.json"
# It does check: a name written wrong is found.
sed 's/VisitDateTime/VisitDatetime/' "$root/cmd/rounds/starter/appointment.ts" >"$work/starter/appointment.ts"
if "$work/node_modules/.bin/tsc" --project "$work/starter/tsconfig.json" >"$work/log"; then
  echo "the starter's types take a member that Visit does not have" >&2
  exit 1
fi
