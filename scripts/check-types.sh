#!/bin/sh
# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

# Checks rounds.d.ts with the TypeScript compiler: the declarations themselves, that types.ts compiles and what is marked in
# it as wrong is refused, and the mappings of the tests against them. Needs npm.
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
