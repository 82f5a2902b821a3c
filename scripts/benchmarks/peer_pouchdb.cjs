// Two PouchDB databases in memory, one of them behind its HTTP server on loopback, that share
// `size` documents and have half of `apart` each alone. Prints what one `sync` of them cost: bytes
// on the socket less those of the documents that moved, requests, CPU milliseconds of both ends.
"use strict";

const [, , modules, size, apart] = process.argv;
const load = require("node:module").createRequire(`${modules}/node_modules/`);
const PouchDB = load("pouchdb-core");
for (const name of ["adapter-memory", "adapter-http", "replication"]) {
  PouchDB.plugin(load(`pouchdb-${name}`));
}
const body = "x".repeat(400); // the 300 bytes of an item of ours as text

const documents = (first, count) =>
  Array.from({ length: count }, (_, number) => ({
    _id: String(first + number).padStart(12, "0"),
    _rev: `1-${String(first + number).padStart(32, "0")}`,
    body,
  }));

async function filled(db, first, count) {
  for (let at = 0; at < count; at += 1000) {
    await db.bulkDocs(documents(first + at, Math.min(1000, count - at)), { new_edits: false });
  }
}

async function main() {
  const Memory = PouchDB.defaults({ adapter: "memory" });
  const app = load("express")();
  app.use("/", load("express-pouchdb")(Memory, {
    mode: "minimumForPouchDB", inMemoryConfig: true, logPath: "pouchdb.log",
  }));
  let requests = 0;
  const sockets = [];
  const server = app.listen(0, "127.0.0.1");
  server.on("connection", (socket) => sockets.push(socket));
  server.on("request", () => { requests += 1; });
  await new Promise((resolve) => server.once("listening", resolve));
  const [here, there] = [new Memory("here"), new Memory("there")];
  const half = Math.floor(apart / 2);
  for (const [db, first] of [[here, 10 ** 9], [there, 2 * 10 ** 9]]) {
    await filled(db, 0, Number(size));
    await filled(db, first, half);
  }
  const began = process.cpuUsage();
  await here.sync(new PouchDB(`http://127.0.0.1:${server.address().port}/there`));
  const cpu = process.cpuUsage(began);
  const [mine, theirs] = [await here.info(), await there.info()];
  if (mine.doc_count !== theirs.doc_count) throw new Error("they are not in sync");
  const bytes = sockets.reduce((sum, one) => sum + one.bytesRead + one.bytesWritten, 0);
  const bodies = JSON.stringify(documents(10 ** 9, 1)[0]).length * half * 2;
  console.log(JSON.stringify({
    bytes: bytes - bodies, trips: requests, cpu: (cpu.user + cpu.system) / 1e6,
  }));
  process.exit(0);
}

main().catch((error) => { console.error(String(error)); process.exit(1); });
