"""Calls a workspace manager with Python's grpcio: a call, an error, a stream. Arguments: HOST:PORT DESCRIPTORS."""

import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

addr, descriptors = sys.argv[1:]
files = descriptor_pb2.FileDescriptorSet.FromString(open(descriptors, "rb").read())
pool = descriptor_pool.DescriptorPool()
for file in files.file:
    pool.Add(file)
service = pool.FindServiceByName("wsman.WorkspaceManager")
channel = grpc.insecure_channel(addr)


def kind(name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def call(name, request, **options):
    method = service.methods_by_name[name]
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    answer = message_factory.GetMessageClass(method.output_type)
    asked = message_factory.GetMessageClass(method.input_type)
    stub = make(
        f"/wsman.WorkspaceManager/{name}",
        request_serializer=asked.SerializeToString,
        response_deserializer=answer.FromString,
    )
    return stub(asked(**request), timeout=60, **options)


updates = call("Subscribe", {})
updates.initial_metadata()
started = call(
    "StartWorkspace",
    {
        "id": "by-python",
        "service_prefix": "p-by-python",
        "metadata": {"owner": "by-python", "meta_id": "m"},
        "spec": {
            "workspace_image": "registry.example.com/workspace:1",
            "workspace_location": "/workspace",
            "initializer": {"empty": {}},
        },
    },
)
assert started.owner_token
assert call("DescribeWorkspace", {"id": "by-python"}).status.id == "by-python"
try:
    call("DescribeWorkspace", {"id": "none"})
    raise AssertionError("there is no such workspace")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
call("StopWorkspace", {"id": "by-python", "policy": 1})
stopped = kind("wsman.WorkspaceStatus").DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_name["STOPPED"].number
for update in updates:
    if update.status.id == "by-python" and update.status.phase == stopped:
        break
else:
    raise AssertionError("the stream ended before the workspace did")
updates.cancel()
