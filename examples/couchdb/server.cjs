// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0
//
// Serves PouchDB, in memory, with the HTTP interface of CouchDB: node server.cjs [PORT [LOGFILE]]
const [port = '5984', logPath = require('node:os').devNull] = process.argv.slice(2);
const database = require('pouchdb-core');
for (const name of ['adapter-memory', 'adapter-http', 'mapreduce', 'replication']) {
  const plugin = require(`pouchdb-${name}`);
  database.plugin(plugin.default ?? plugin);
}
const serve = require('express-pouchdb');
const app = require('express')();
app.use(serve(database.defaults({ adapter: 'memory' }), { mode: 'minimumForPouchDB', inMemoryConfig: true, logPath }));
app.listen(Number(port), '127.0.0.1');
