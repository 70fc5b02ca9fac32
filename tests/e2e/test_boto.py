"""HyperPod's API as scripts of AWS's SDK for Python use it, and requests changed at random: the server
neither fails on one nor accepts what the service model forbids. Needs Debian's botocore; the model of
HyperPod's operations is the server's own (sdk_model.py)."""
import datetime
import json
import os
import random
import re
import tempfile
import unittest
import warnings

try:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    import botocore.exceptions
    import botocore.httpsession
    import botocore.session
except ImportError:
    botocore = None

import sdk_model
from cluster import Cluster, ClusterTest, wait_for

REQUESTS = int(os.environ.get("BOTO_REQUESTS", "500"))
ROLE = "arn:aws:iam::123456789012:role/hyperpod"


def group(name, count):
    return {"InstanceGroupName": name, "InstanceCount": count, "InstanceType": "ml.p5.48xlarge",
            "ExecutionRole": ROLE}


class BotoCluster(Cluster):
    def __init__(self, *arguments):
        self.access = None
        super().__init__(*arguments)
        self.models = tempfile.TemporaryDirectory()
        sdk_model.write(self.models.name)
        self.session = sdk_model.session(botocore.session, self.models.name)

    def __exit__(self, *raised):
        self.models.cleanup()
        return super().__exit__(*raised)

    def cli(self, *arguments):
        said = super().cli(*arguments)
        if arguments[0] == "up":
            self.access = json.loads(said)
        return said

    def client(self, **more):
        chosen = dict(region_name=self.access["region"], endpoint_url=self.access["api_endpoint"],
                      aws_access_key_id=self.access["access_key_id"],
                      aws_secret_access_key=self.access["secret_access_key"])
        chosen.update(more)
        return self.session.create_client("sagemaker", **chosen)


class BotoTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        if botocore is None:
            raise unittest.SkipTest("NOT TESTED: there is no botocore (apt-get install python3-botocore)")
        warnings.simplefilter("ignore", ResourceWarning)  # botocore keeps its connections

    def refused(self, code, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            call(**arguments)
        self.assertEqual(raised.exception.response["Error"]["Code"], code)
        self.assertGreater(len(raised.exception.response["Error"]["Message"]), 20)
        return raised.exception.response["Error"]["Message"]


class Scripts(BotoTest):
    def test_lists_are_paged_filtered_and_sorted(self):
        with BotoCluster(2, 1) as c:
            client = c.client()
            # The SDK sends whole seconds: the next one is what tells the first cluster from the others.
            made = client.describe_cluster(ClusterName="default")["CreationTime"].replace(microsecond=0)
            began = made + datetime.timedelta(seconds=1)
            wait_for(lambda: datetime.datetime.now(datetime.timezone.utc) > began, "a second has gone by")
            for name in ("ml-b", "ml-a"):
                client.create_cluster(ClusterName=name, InstanceGroups=[group("workers", 0)])

            def names(**query):
                return [one["ClusterName"] for page in client.get_paginator("list_clusters").paginate(
                    PaginationConfig={"PageSize": 1}, **query) for one in page["ClusterSummaries"]]
            self.assertEqual(names(SortBy="NAME"), ["default", "ml-a", "ml-b"])
            self.assertEqual(names(SortBy="NAME", SortOrder="Descending"), ["ml-b", "ml-a", "default"])
            self.assertEqual(names(), ["default", "ml-b", "ml-a"], "by their time")
            self.assertEqual(names(CreationTimeAfter=began, NameContains="a"), ["ml-a"])
            self.assertEqual(names(CreationTimeBefore=began), ["default"])
            pages = client.get_paginator("list_cluster_nodes").paginate(
                ClusterName="default", IncludeNodeLogicalIds=True, PaginationConfig={"PageSize": 2})
            nodes = [node for page in pages for node in page["ClusterNodeSummaries"]]
            self.assertEqual(len({node["InstanceId"] for node in nodes}), 3)
            self.assertEqual(sorted(node.get("NodeLogicalId", "") for node in nodes),
                             ["", "workers-1", "workers-2"])
            events = [event for page in client.get_paginator("list_cluster_events").paginate(
                ClusterName="default", PaginationConfig={"PageSize": 3}) for event in page["Events"]]
            times = [event["EventTime"] for event in events]
            self.assertEqual(times, sorted(times, reverse=True))
            with self.assertRaises(botocore.exceptions.ClientError) as raised:
                client.list_clusters(NextToken="garbage")
            self.assertEqual(raised.exception.response["Error"]["Code"], "ValidationException")

    def test_errors_are_the_classes_of_the_model(self):
        with BotoCluster(1, 0) as c:
            client = c.client()
            with self.assertRaises(client.exceptions.ResourceNotFound):
                client.describe_cluster(ClusterName="nobody")
            with self.assertRaises(client.exceptions.ResourceInUse):
                client.create_cluster(ClusterName="default", InstanceGroups=[group("workers", 1)])
            with self.assertRaises(client.exceptions.ResourceLimitExceeded) as raised:
                client.create_cluster(ClusterName="huge", InstanceGroups=[group("workers", 6758)])
            self.assertIn("6758", str(raised.exception))
            with self.assertRaises(client.exceptions.ResourceLimitExceeded):
                client.update_cluster(ClusterName="default", InstanceGroups=[dict(
                    group("more", 6000))])
            quota = dict(ComputeQuotaConfig={}, ComputeQuotaTarget={"TeamName": "a"})
            arn = client.describe_cluster(ClusterName="default")["ClusterArn"]
            client.create_compute_quota(Name="q", ClusterArn=arn, **quota)
            with self.assertRaises(client.exceptions.ConflictException):
                client.create_compute_quota(Name="q", ClusterArn=arn, **quota)
            # CreateComputeQuota knows no ResourceNotFound.
            self.refused("ValidationException", client.create_compute_quota, Name="q",
                         ClusterArn=arn[:-12] + "0" * 12, **quota)
            for more in ({"region_name": "eu-west-1"}, {"aws_secret_access_key": "x"}):
                self.refused("InvalidSignatureException", c.client(**more).list_clusters)

    def test_tags(self):
        with BotoCluster(1, 0) as c:
            client = c.client()
            arn = client.create_cluster(ClusterName="ml", InstanceGroups=[group("workers", 0)],
                                        Tags=[{"Key": "team", "Value": "a"}])["ClusterArn"]

            def tags(of):
                return {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=of)["Tags"]}
            self.assertEqual(tags(arn), {"team": "a"})
            client.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}])
            self.assertEqual(tags(arn), {"team": "b", "x": ""})
            client.delete_tags(ResourceArn=arn, TagKeys=["x", "nothing"])
            self.assertEqual(tags(arn), {"team": "b"})
            client.add_tags(ResourceArn=arn, Tags=[{"Key": "holdfast:spares:workers", "Value": "1"}])
            wait_for(lambda: len(client.list_cluster_nodes(ClusterName="ml")["ClusterNodeSummaries"]) == 1,
                     "the tag of spares gets one")
            quota = client.create_compute_quota(
                Name="q", ClusterArn=arn, ComputeQuotaConfig={}, ComputeQuotaTarget={"TeamName": "a"},
                Tags=[{"Key": "cost", "Value": "7"}])
            self.assertEqual(tags(quota["ComputeQuotaArn"]), {"cost": "7"})
            self.refused("ValidationException", client.list_tags, ResourceArn=arn[:-12] + "0" * 12)

    def test_operations(self):
        with BotoCluster(2, 0) as c:
            client = c.client()
            client.start_cluster_health_check(ClusterName="default", DeepHealthCheckConfigurations=[
                {"InstanceGroupName": "workers", "DeepHealthChecks": ["InstanceConnectivity"]}])
            client.update_cluster(ClusterName="default", InstanceGroups=[group("more", 1)])
            found = client.list_cluster_operations(ClusterName="default")["ClusterOperationSummaries"]
            self.assertEqual([one["Type"] for one in found], ["Scaling", "DeepHealthCheck", "Scaling"])
            self.assertEqual(found[2]["Status"], "Done")
            check = client.describe_cluster_operation(ClusterName="default",
                                                      OperationId=found[1]["OperationId"])
            self.assertEqual(len(check["DeepHealthCheckDetails"][0]["InstanceIds"]), 2)
            wait_for(lambda: all(one["Status"] == "Done" for one in client.list_cluster_operations(
                ClusterName="default")["ClusterOperationSummaries"]), "they end", 60)
            arn = check["ClusterArn"]
            self.assertIn("BatchDeleteClusterNodes", self.refused(
                "ValidationException", client.move_cluster_nodes, SourceClusterArn=arn,
                SourceInstanceGroupName="workers", TargetClusterArn=arn, TargetInstanceGroupName="more",
                InstanceCount=1))
            self.assertIn("lifecycle script", self.refused(
                "ValidationException", client.create_cluster_extension, ClusterArn=arn, ExtensionName="a"))

    def test_all_clusters_are_deleted_and_another_is_made(self):
        with BotoCluster(2, 1) as c:
            client = c.client()

            def names():
                return [one["ClusterName"] for one in client.list_clusters()["ClusterSummaries"]]
            for name in names():
                client.delete_cluster(ClusterName=name)
            wait_for(lambda: not names(), "the server's own is gone")
            c.cli("chaos", "server-kill")
            wait_for(lambda: c.call("status").returncode == 0, "server back")
            wait_for(lambda: not names(), "and it stays so")
            client.create_cluster(ClusterName="default", InstanceGroups=[group("workers", 1)])
            wait_for(lambda: client.describe_cluster(ClusterName="default")["ClusterStatus"] == "InService",
                     "another one of its name")
            refused = c.call("up", "--state", c.state)
            self.assertEqual(refused.returncode, 5, refused.stderr)
            self.assertIn("deleted", refused.stderr)


# --- requests changed at random

GARBAGE = [None, 0, -1, 1, 2**31, 2**63, 2**64, 1e308, 1.5, "", " ", "x", "X" * 300, "\u0000", "é" * 64,
           "☃", True, [], {}, [None], [[]], {"": None}, {"a": {"b": [1]}}, "i-00000000", "../..", "'; --",
           "arn:aws:sagemaker:us-east-1:000000000000:cluster/aaaaaaaaaaaa", "2026-02-30T00:00:00Z", "NaN"]
FEW = ("InstanceCount", "IncrementTargetCountBy")  # each node is a process here
EXAMPLES = {  # of patterns that have a longer one than "a"
    "ClusterArn": "arn:aws:sagemaker:us-east-1:000000000000:cluster/0123456789ab",
    "ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:cluster/0123456789ab",
    "RoleArn": ROLE, "ClusterNodeId": "i-0123456789abcdef0", "ClusterNodeLogicalId": "workers-1",
    "EventId": "01234567-89ab-cdef-0123-456789abcdef", "VolumeId": "vol-0123456789abcdef0"}


def forbidden(shape, value, path=""):
    """What the model says against it: types, what is required, limits of numbers, enumerations."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        if not isinstance(value, dict):
            return [path]
        found = [path + "." + name for name in shape.required_members if value.get(name) is None]
        for name, member in shape.members.items():
            if value.get(name) is not None:
                found += forbidden(member, value[name], path + "." + name)
        return found
    if kind == "list":
        if not isinstance(value, list) or not limits.get("min", 0) <= len(value) <= limits.get("max", 1e9):
            return [path]
        return [one for item in value for one in (
            [path] if item is None else forbidden(shape.member, item, path + "[]"))]
    if kind == "string":
        is_wrong = not isinstance(value, str) or (shape.enum and value not in shape.enum) or not (
            limits.get("min", 0) <= len(value) <= limits.get("max", 1e9))
        return [path] if is_wrong else []
    if kind in ("integer", "long"):
        bits = 31 if kind == "integer" else 63
        is_wrong = isinstance(value, bool) or not isinstance(value, int) or not (
            limits.get("min", -2**bits) <= value <= limits.get("max", 2**bits - 1))
        return [path] if is_wrong else []
    return [path] if kind == "boolean" and not isinstance(value, bool) else []


class Mutator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.known = {}  # of members: values that are there

    def sample(self, shape, name="", depth=0):
        kind, limits = shape.type_name, shape.metadata
        if self.known.get(name) and (name in FEW or self.random.random() < .7):
            return self.random.choice(self.known[name])
        if kind == "structure":
            return {key: self.sample(member, key, depth + 1) for key, member in shape.members.items()
                    if key in shape.required_members or self.random.random() < (.15 if depth else .3)}
        if kind == "list":
            return [self.sample(shape.member, name[:-1], depth + 1)
                    for _ in range(self.random.randint(limits.get("min", 0), max(2, limits.get("min", 0))))]
        if kind == "map":
            return {}
        if kind == "string":
            return self.random.choice(shape.enum) if shape.enum else EXAMPLES.get(shape.name, "a")
        if kind in ("integer", "long"):
            low = limits.get("min", 0)
            return self.random.choice([low, low + 1, limits.get("max", low + 2)])
        if kind == "boolean":
            return self.random.random() < .5
        return self.random.choice([0, 1700000000, 1700000000.123, "2026-11-25T18:04:45Z"])

    def places(self, value, at=()):
        if isinstance(value, dict):
            for key in value:
                yield value, key
                yield from self.places(value[key])
        elif isinstance(value, list):
            for key, item in enumerate(value):
                yield value, key
                yield from self.places(item)

    def mutate(self, shape, value):
        for _ in range(self.random.choice([1, 1, 2])):
            places = list(self.places(value))
            if not places:
                value[self.random.choice(list(shape.members) or ["Unknown"])] = self.random.choice(GARBAGE)
                continue
            holder, key = self.random.choice(places)
            how = self.random.random()
            if how < .2 and isinstance(holder, dict):
                del holder[key]
            elif how < .3 and isinstance(holder[key], list):
                holder[key] = holder[key] * 300
            elif how < .4 and isinstance(holder[key], str):
                holder[key] = self.random.choice([holder[key] + "\n", holder[key] * 90, holder[key].upper()])
            else:
                holder[key] = self.random.choice(GARBAGE)
        return value


class Mutated(BotoTest):
    def send(self, c, operation, body):
        answers = []

        def is_answered():
            request = botocore.awsrequest.AWSRequest(
                "POST", c.access["api_endpoint"] + "/", data=body, headers={
                    "Content-Type": "application/x-amz-json-1.1",
                    "X-Amz-Target": "SageMaker." + operation})
            credentials = botocore.credentials.Credentials(c.access["access_key_id"],
                                                           c.access["secret_access_key"])
            botocore.auth.SigV4Auth(credentials, "sagemaker", c.access["region"]).add_auth(request)
            answer = self.http.send(request.prepare())
            if b"ThrottlingException" in answer.content:
                return False
            answers.append(answer)
            return True
        wait_for(is_answered, "an answer", 60)
        return answers[0]

    def learn(self, mutator, client):
        clusters = client.list_clusters()["ClusterSummaries"]
        if not clusters:  # all have been deleted
            client.create_cluster(ClusterName="another", InstanceGroups=[group("workers", 2)])
            clusters = client.list_clusters()["ClusterSummaries"]
        nodes = client.list_cluster_nodes(ClusterName=clusters[0]["ClusterName"],
                                          IncludeNodeLogicalIds=True)
        nodes = nodes["ClusterNodeSummaries"]
        arns = [one["ClusterArn"] for one in clusters]
        mutator.known.update(
            ClusterName=[one["ClusterName"] for one in clusters] + arns, ClusterArn=arns, ResourceArn=arns,
            NodeId=[node["InstanceId"] for node in nodes],
            NodeLogicalId=[node["NodeLogicalId"] for node in nodes if "NodeLogicalId" in node],
            InstanceGroupName=["workers", "a"], InstanceCount=[0, 1], IncrementTargetCountBy=[1],
            InstanceType=["ml.p5.48xlarge"], ExecutionRole=[ROLE])

    def check(self, model, given, body, answer):
        what = "%s %s: %d %s" % (model.name, body[:500], answer.status_code, answer.content[:500])
        self.assertLess(answer.status_code, 500, what)
        told = json.loads(answer.content)
        if answer.status_code == 200:
            self.assertEqual(forbidden(model.input_shape, given), [], "accepted: " + what)
            if model.output_shape is not None:
                self.assertEqual(forbidden(model.output_shape, told), [], "not of its shape: " + what)
                self.assertEqual(set(told) - set(model.output_shape.members), set(), what)
            return
        allowed = {error.name for error in model.error_shapes}
        self.assertIn(told["__type"], allowed | {"ValidationException", "SerializationException"}, what)
        self.assertTrue(told.get("Message") or told.get("message"), what)

    def test_the_server_holds_to_the_model(self):
        seed = int(os.environ.get("BOTO_SEED", "1"))
        with BotoCluster(2, 1) as c:
            self.http = botocore.httpsession.URLLib3Session()
            client, mutator = c.client(), Mutator(seed)
            service = client.meta.service_model
            counts = {}
            for number in range(REQUESTS):
                if number % 50 == 0:
                    self.learn(mutator, client)
                model = service.operation_model(mutator.random.choice(service.operation_names))
                given = mutator.sample(model.input_shape)
                if mutator.random.random() < .6:
                    given = mutator.mutate(model.input_shape, given)
                body = json.dumps(given).encode()
                answer = self.send(c, model.name, body)
                with self.subTest(seed=seed, number=number):
                    self.check(model, given, body, answer)
                code = json.loads(answer.content).get("__type", "ok")
                counts[code] = counts.get(code, 0) + 1
            self.assertGreater(counts["ok"], REQUESTS // 20, counts)
            self.assertGreater(counts["ValidationException"], REQUESTS // 10, counts)
            with open(os.path.join(c.state, "server.log")) as log:
                self.assertNotRegex(log.read(), re.compile(r"CHECK|terminate|Internal"))


if __name__ == "__main__":
    unittest.main()
