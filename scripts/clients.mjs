// Calls a workspace manager with Connect for Node, in each protocol that it speaks: a call, an error with its details,
// a stream. Arguments: HOST:PORT DESCRIPTORS.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  compressionGzip as gzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";

const [addr, descriptors] = process.argv.slice(2);
const files = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = files.getService("wsman.WorkspaceManager");
const stopped = files.getEnum("wsman.WorkspacePhase").values.find((value) => value.name === "STOPPED").number;

const transports = {
  "connect-json-1": (base) => createConnectTransport({ ...base, httpVersion: "1.1", useBinaryFormat: false }),
  "connect-proto-1": (base) => createConnectTransport({ ...base, httpVersion: "1.1", useBinaryFormat: true }),
  "connect-json-2": (base) => createConnectTransport({ ...base, httpVersion: "2", useBinaryFormat: false }),
  "connect-get": (base) => createConnectTransport({ ...base, httpVersion: "2", useHttpGet: true }),
  "connect-rpc": (base) => createConnectTransport({ ...base, baseUrl: `${base.baseUrl}/rpc`, httpVersion: "1.1" }),
  "connect-gzip": (base) => createConnectTransport({ ...base, httpVersion: "2", sendCompression: gzip, compressMinBytes: 0 }),
  "grpc": (base) => createGrpcTransport(base),
  "grpc-web-1": (base) => createGrpcWebTransport({ ...base, httpVersion: "1.1" }),
  "grpc-web-2": (base) => createGrpcWebTransport({ ...base, httpVersion: "2" }),
};

for (const [name, make] of Object.entries(transports)) {
  const client = createClient(service, make({ baseUrl: `http://${addr}` }));
  const options = { timeoutMs: 60_000 };
  const id = `by-${name}`;
  const cut = new AbortController();
  let stands;
  const opened = new Promise((resolve) => (stands = resolve));
  const updates = client.subscribe({ mustMatch: { owner: id } }, { signal: cut.signal, onHeader: stands });
  const received = (async () => {
    const phases = [];
    for await (const update of updates) {
      phases.push(update.status.phase);
      if (update.status.phase === stopped) return phases;
    }
    throw new Error(`${name}: the stream ended before the workspace did`);
  })();
  await Promise.race([opened, received]);
  const started = await client.startWorkspace({
    id,
    servicePrefix: `p-${id}`,
    metadata: { owner: id, metaId: "m" },
    spec: {
      workspaceImage: "registry.example.com/workspace:1",
      workspaceLocation: "/workspace",
      initializer: { spec: { case: "empty", value: {} } },
    },
  }, options);
  assert.ok(started.ownerToken, name);
  const described = await client.describeWorkspace({ id }, options);
  assert.equal(described.status.id, id, name);
  await assert.rejects(client.describeWorkspace({ id: "none" }, options), (error) => {
    assert.ok(error instanceof ConnectError, name);
    assert.equal(error.code, Code.NotFound, name);
    assert.equal(error.rawMessage, "workspace none does not exist", name);
    assert.equal(error.details[0].type ?? error.details[0].desc?.typeName, "google.rpc.ErrorInfo", name);
    return true;
  });
  await client.stopWorkspace({ id, policy: 1 }, options);
  assert.equal((await received).at(-1), stopped, name);
  cut.abort();
  console.log(`ok ${name}`);
}
process.exit(0);
