"""AWS's own SDK for Python against the listener and the front door of the HyperPod API, real sockets
and all; what answers behind them is bench/api_door.cc. Needs Debian's botocore; the model of HyperPod's
operations is the server's own (sdk_model.py)."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
import warnings

try:
    import botocore.config
    import botocore.exceptions
    import botocore.httpsession
    import botocore.session
except ImportError:
    botocore = None

import sdk_model

HERE = os.path.dirname(os.path.abspath(__file__))
API_DOOR = os.environ.get("API_DOOR", os.path.join(HERE, "../../build/release/bench/api_door"))


class Door:
    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="holdfast-door-")
        self.process = subprocess.Popen([API_DOOR, self.folder, *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, universal_newlines=True)
        sdk_model.write(self.folder)
        told = json.loads(self.process.stdout.readline())
        self.ca, self.keys = told["ca"], told["keys"]
        self.url = "%s://127.0.0.1:%d" % ("https" if self.ca else "http", told["port"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        shutil.rmtree(self.folder)

    def client(self, role, secret=None, region="us-east-1", attempts=1, **more):
        key = self.keys[role]
        return sdk_model.session(botocore.session, self.folder).create_client(
            "sagemaker", region_name=region, endpoint_url=self.url, verify=self.ca or True,
            aws_access_key_id=key["id"], aws_secret_access_key=secret or key["secret"],
            config=botocore.config.Config(retries={"total_max_attempts": attempts}, **more))

    def audited(self):
        with open(os.path.join(self.folder, "audit.log")) as file:
            return [json.loads(line) for line in file]


@unittest.skipIf(botocore is None, "NOT TESTED: there is no botocore (apt-get install python3-botocore)")
class Sdk(unittest.TestCase):
    def setUp(self):
        warnings.simplefilter("ignore", ResourceWarning)  # botocore keeps its connections

    def refused(self, code, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            call(**arguments)
        self.assertEqual(raised.exception.response["Error"]["Code"], code)
        self.assertTrue(raised.exception.response["ResponseMetadata"]["RequestId"])
        return raised.exception.response["Error"]["Message"]

    def test_signed_calls_are_let_in(self):
        for options in ([], ["--tls"]):
            with Door(*options) as door:
                client = door.client("viewer")
                for count in range(1, 6):  # on one connection
                    answer = client.list_clusters()
                    self.assertEqual(answer["NextToken"], str(count))
                self.assertEqual(len(answer["ResponseMetadata"]["RequestId"]), 36)

    def test_who_is_refused(self):
        with Door() as door:
            message = self.refused("AccessDeniedException", door.client("viewer").delete_cluster,
                                   ClusterName="demo")
            self.assertIn("viewer", message)
            self.refused("InvalidSignatureException", door.client("admin", secret="x").list_clusters)
            self.assertIn("us-east-1", self.refused(
                "InvalidSignatureException", door.client("admin", region="eu-west-1").list_clusters))
            door.keys["stranger"] = {"id": "AKIA0000000000000000", "secret": "x"}
            self.refused("UnrecognizedClientException", door.client("stranger").list_clusters)
            self.refused("MissingAuthenticationTokenException", door.client(
                "admin", signature_version=botocore.UNSIGNED).list_clusters)
            self.assertEqual([line["outcome"] for line in door.audited()], [
                "AccessDeniedException", "InvalidSignatureException", "InvalidSignatureException",
                "UnrecognizedClientException", "MissingAuthenticationTokenException"])

    def test_the_same_bytes_again_change_nothing(self):
        with Door() as door:
            client = door.client("admin")
            sent = []
            client.meta.events.register("before-send.sagemaker.*",
                                        lambda request, **_: sent.append(request))
            client.delete_cluster(ClusterName="demo")
            client.list_clusters()
            session = botocore.httpsession.URLLib3Session()
            first = session.send(sent[0])
            self.assertEqual(json.loads(first.content)["NextToken"], "1")  # that of the first time
            sent[0].headers["amz-sdk-invocation-id"] = b"another"
            refused = session.send(sent[0])
            self.assertEqual(json.loads(refused.content)["__type"], "ThrottlingException")
            second = session.send(sent[1])
            self.assertEqual(json.loads(second.content)["NextToken"], "3")  # looking is free
            self.assertEqual([line.get("repeated") for line in door.audited()], [None, True, True])

    def test_the_same_call_twice_within_a_second(self):
        with Door() as door:
            client = door.client("admin", attempts=5)
            tokens = [client.delete_cluster(ClusterName="demo")["ResponseMetadata"]["RequestId"]
                      for _ in range(3)]
            self.assertEqual(len(set(tokens)), 3)
            carried_out = [line for line in door.audited() if line["outcome"] == "ok"]
            self.assertEqual(len(carried_out), 3)
            self.assertFalse(any(line.get("repeated") for line in carried_out))

    def test_large_and_unusual_texts(self):
        with Door() as door:
            client = door.client("admin")
            # What is in the body is the handlers' matter, but it must arrive as it was signed.
            client.create_cluster_scheduler_config(
                Name="a", ClusterArn="arn:aws:sagemaker:us-east-1:123456789012:cluster/abcdefghijkl",
                SchedulerConfig={}, Description="größer ☃ %20 + / " * 20)
            config = "x" * 2_000_000
            self.refused("RequestEntityTooLargeException", client.create_cluster_scheduler_config,
                         Name="a", SchedulerConfig={}, Description=config,
                         ClusterArn="arn:aws:sagemaker:us-east-1:123456789012:cluster/abcdefghijkl")


if __name__ == "__main__":
    unittest.main()
