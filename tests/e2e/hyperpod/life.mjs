// The whole life of a cluster through AWS's SDK. Each step says what it has seen.
import { call, client, equal, errorOf, inService, nodesOf, running, sdk, waitFor } from "./client.mjs";

const name = "ml-1";
const group = (InstanceGroupName, InstanceCount) => ({
  InstanceGroupName,
  InstanceCount,
  InstanceType: "ml.p5.48xlarge",
  ExecutionRole: "arn:aws:iam::123456789012:role/hyperpod",
});

// --- made
const began = Date.now();
const made = await call("CreateCluster", {
  ClusterName: name,
  InstanceGroups: [group("head", 1), group("workers", 3)],
  NodeRecovery: "Automatic",
  NodeProvisioningMode: "Continuous",
  Tags: [{ Key: "holdfast:spares:workers", Value: "1" }],
});
const described = await inService(name, 4);
console.log(`in service after ${(Date.now() - began) / 1000} s`);
equal(described.ClusterArn, made.ClusterArn, "ARN");
equal(described.CreationTime instanceof Date, true, "CreationTime is a time");
equal(described.InstanceGroups.map((one) => one.TargetCount), [1, 3], "TargetCount");
equal((await errorOf("CreateCluster", {
  ClusterName: name, InstanceGroups: [group("head", 1)],
})).name, "ResourceInUse", "a name twice");
equal((await call("ListClusters", { NameContains: "ml" })).ClusterSummaries.length, 1, "listed");
equal((await call("DescribeCluster", { ClusterName: made.ClusterArn })).ClusterName, name, "by ARN");

// --- nodes
await waitFor(async () => running(await nodesOf(name)).length === 5, "the spare is there");
const nodes = await nodesOf(name);
const worker = nodes.find((one) => one.InstanceGroupName === "workers" && one.NodeLogicalId);
const { NodeDetails } = await call("DescribeClusterNode", {
  ClusterName: name, NodeId: worker.InstanceId,
});
equal(NodeDetails.InstanceStatus.Status, "Running", "DescribeClusterNode");
equal((await call("DescribeClusterNode", {
  ClusterName: name, NodeLogicalId: worker.NodeLogicalId,
})).NodeDetails.InstanceId, worker.InstanceId, "by logical id");

// --- grown, by name and by batch
await call("BatchAddClusterNodes", {
  ClusterName: name, ClientToken: "token-0123456789",
  NodesToAdd: [{ InstanceGroupName: "head", IncrementTargetCountBy: 1 }],
});
const again = await call("BatchAddClusterNodes", {
  ClusterName: name, ClientToken: "token-0123456789",
  NodesToAdd: [{ InstanceGroupName: "head", IncrementTargetCountBy: 1 }],
});
equal(again.Successful.length, 1, "the same token, the same answer");
await inService(name, 5);
const refused = await call("BatchAddClusterNodes", {
  ClusterName: name, NodesToAdd: [{ InstanceGroupName: "nobody", IncrementTargetCountBy: 1 }],
});
equal(refused.Failed[0].ErrorCode, "InstanceGroupNotFound", "no such group");
await call("UpdateCluster", {
  ClusterName: name, InstanceGroups: [group("workers", 2)],
});
await inService(name, 4);

// --- rebooted, replaced, deleted
const find = async (id) => (await nodesOf(name)).find((one) => one.InstanceId === id);
await waitFor(async () => running(await nodesOf(name)).length === 5, "settled");
const target = (await nodesOf(name)).find((one) => one.NodeLogicalId?.startsWith("workers"));
const batch = await call("BatchRebootClusterNodes", {
  ClusterName: name, NodeIds: [target.InstanceId, "i-0123456789abcdef0"],
});
equal(batch.Successful, [target.InstanceId], "rebooted");
equal(batch.Failed[0].ErrorCode, "InstanceIdNotFound", "not ours");
await waitFor(async () => (await find(target.InstanceId))?.InstanceStatus.Status === "Running" &&
  running(await nodesOf(name)).length === 5, "it is back under its id");
const bad = (await nodesOf(name)).find((one) => one.NodeLogicalId?.startsWith("workers"));
const began2 = Date.now();
await call("BatchReplaceClusterNodes", { ClusterName: name, NodeIds: [bad.InstanceId] });
const taken = await waitFor(async () => (await nodesOf(name)).find((one) =>
  one.NodeLogicalId === bad.NodeLogicalId && one.InstanceId !== bad.InstanceId &&
  one.InstanceStatus.Status === "Running"), "a spare has its place");
console.log(`a spare took the place after ${(Date.now() - began2) / 1000} s`);
equal(taken.InstanceGroupName, "workers", "of its group");
const gone = (await nodesOf(name)).find((one) => one.NodeLogicalId?.startsWith("head"));
await call("BatchDeleteClusterNodes", { ClusterName: name, NodeIds: [gone.InstanceId] });
await waitFor(async () => !(await find(gone.InstanceId)), "deleted");
equal((await inService(name, 3)).InstanceGroups[0].TargetCount, 1, "and its group is smaller");

// --- software, batch by batch
await waitFor(async () => running(await nodesOf(name)).length === 4, "settled");
await call("UpdateClusterSoftware", {
  ClusterName: name,
  InstanceGroups: [{ InstanceGroupName: "workers" }],
  DeploymentConfig: {
    RollingUpdatePolicy: { MaximumBatchSize: { Type: "INSTANCE_COUNT", Value: 1 } },
    WaitIntervalInSeconds: 0,
  },
});
await waitFor(async () =>
  (await call("DescribeCluster", { ClusterName: name })).ClusterStatus === "SystemUpdating",
"the update runs");
equal((await errorOf("UpdateClusterSoftware", { ClusterName: name })).name, "ConflictException",
  "one at a time");
await inService(name, 3);

// --- events, each with its reason
const events = [];
const pages = sdk.paginateListClusterEvents({ client, pageSize: 10 }, { ClusterName: name });
for await (const page of pages) events.push(...page.Events);
equal(events.every((one) => one.Description && one.EventTime instanceof Date), true, "reasons");
const replaced = events.find((one) => one.Description.includes("replacement asked for"));
const detail = await call("DescribeClusterEvent", { ClusterName: name, EventId: replaced.EventId });
equal(detail.EventDetails.InstanceId, bad.InstanceId, "the event of the bad node");

// --- task governance
const config = await call("CreateClusterSchedulerConfig", {
  Name: "fair", ClusterArn: made.ClusterArn,
  SchedulerConfig: { PriorityClasses: [{ Name: "high", Weight: 90 }], FairShare: "Enabled" },
});
const quota = await call("CreateComputeQuota", {
  Name: "team-a", ClusterArn: made.ClusterArn,
  ComputeQuotaConfig: { ComputeQuotaResources: [{ InstanceType: "ml.p5.48xlarge", Count: 2 }] },
  ComputeQuotaTarget: { TeamName: "a" },
});
await call("UpdateComputeQuota", {
  ComputeQuotaId: quota.ComputeQuotaId, TargetVersion: 1,
  ComputeQuotaTarget: { TeamName: "a", FairShareWeight: 10 },
});
equal((await errorOf("UpdateComputeQuota", {
  ComputeQuotaId: quota.ComputeQuotaId, TargetVersion: 1,
})).name, "ConflictException", "an old version");
equal((await call("DescribeComputeQuota", { ComputeQuotaId: quota.ComputeQuotaId }))
  .ComputeQuotaVersion, 2, "versions");
equal((await call("ListClusterSchedulerConfigs", {})).ClusterSchedulerConfigSummaries.length, 1,
  "listed");
await call("DeleteClusterSchedulerConfig", {
  ClusterSchedulerConfigId: config.ClusterSchedulerConfigId,
});

// --- what is AWS's own
for (const [operation, input] of [
  ["ListTrainingPlans", {}],
  ["AttachClusterNodeVolume", {
    ClusterArn: made.ClusterArn, NodeId: taken.InstanceId, VolumeId: "vol-0123456789abcdef0",
  }],
]) {
  const error = await errorOf(operation, input);
  equal(error.message.length > 40, true, `${operation} says what to use instead`);
  equal(error.name, "ValidationException", operation);
}

// --- checked by hand, and ended
await call("StartClusterHealthCheck", {
  ClusterName: name,
  DeepHealthCheckConfigurations: [
    { InstanceGroupName: "head", DeepHealthChecks: ["InstanceStress"] },
  ],
});
await waitFor(async () => (await nodesOf(name)).some((one) =>
  one.InstanceStatus.Status === "DeepHealthCheckInProgress"), "it is checked");
await call("UpdateCluster", { ClusterName: name, InstanceGroupsToDelete: ["head"] });
await inService(name, 2);
// Twice at one time, as a caller does who did not hear the answer.
await Promise.all([1, 2].map(() => call("DeleteCluster", { ClusterName: name })));
await waitFor(async () => {
  try {
    await call("DescribeCluster", { ClusterName: name });
  } catch (error) {
    equal(error.name, "ResourceNotFound", "gone");
    return true;
  }
}, "the cluster is gone");
console.log("done");
