// Lifecycle scripts through AWS's SDK: nodes that become members by them, and a cluster that says why
// it has failed.
import { call, equal, inService, nodesOf, running, waitFor } from "./client.mjs";

const create = (ClusterName, OnCreate) => call("CreateCluster", {
  ClusterName,
  InstanceGroups: [{
    InstanceGroupName: "workers",
    InstanceCount: 2,
    InstanceType: "ml.g5.8xlarge",
    ExecutionRole: "arn:aws:iam::123456789012:role/hyperpod",
    LifeCycleConfig: { SourceS3Uri: "s3://scripts/base", OnCreate },
  }],
});

await create("good", "on_create.sh");
await inService("good", 2);
equal(running(await nodesOf("good")).length, 2, "they run");

await create("bad", "on_create_bad.sh");
const failed = await waitFor(async () => {
  const cluster = await call("DescribeCluster", { ClusterName: "bad" });
  return cluster.ClusterStatus === "Failed" ? cluster : null;
}, "it has failed", 120);
equal(failed.FailureMessage.includes("the mount is gone"), true, failed.FailureMessage);
const nodes = await waitFor(async () => {
  const all = await nodesOf("bad");
  return all.some((one) => one.InstanceStatus.Status === "Failure") ? all : null;
}, "a node to look at");
const bad = nodes.find((one) => one.InstanceStatus.Status === "Failure");
equal(bad.InstanceStatus.Message.includes("the mount is gone"), true, "and it says why");
console.log("done");
