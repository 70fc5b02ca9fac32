// What the steps share: the SDK's client for the cluster that the environment names, and waiting
// with a deadline.
import { createRequire } from "node:module";

const require = createRequire(process.env.HOLDFAST_NODE_MODULES + "/");
export const sdk = require("@aws-sdk/client-sagemaker");

export const client = new sdk.SageMakerClient({
  endpoint: process.env.API_ENDPOINT,
  region: process.env.API_REGION,
  credentials: {
    accessKeyId: process.env.API_KEY_ID,
    secretAccessKey: process.env.API_SECRET,
  },
});

export const call = (operation, input = {}) =>
  client.send(new sdk[operation + "Command"](input));

// Until condition() gives something true; returns it.
export async function waitFor(condition, what, deadlineSeconds = 60) {
  const end = Date.now() + deadlineSeconds * 1000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${deadlineSeconds} s: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

// The error that an operation ends with; fails when it does not.
export async function errorOf(operation, input) {
  try {
    await call(operation, input);
  } catch (error) {
    return error;
  }
  throw new Error(`${operation} was accepted: ${JSON.stringify(input)}`);
}

export async function nodesOf(ClusterName) {
  const nodes = [];
  const pages = sdk.paginateListClusterNodes(
    { client, pageSize: 3 },
    { ClusterName, IncludeNodeLogicalIds: true },
  );
  for await (const page of pages) nodes.push(...page.ClusterNodeSummaries);
  return nodes;
}

export const running = (nodes) =>
  nodes.filter((node) => node.InstanceStatus.Status === "Running");

export const inService = (ClusterName, count) =>
  waitFor(async () => {
    const cluster = await call("DescribeCluster", { ClusterName });
    const current = cluster.InstanceGroups.reduce((sum, one) => sum + one.CurrentCount, 0);
    return cluster.ClusterStatus === "InService" && current === count ? cluster : null;
  }, `${ClusterName} in service with ${count} nodes`);

export function equal(actual, expected, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`);
}
