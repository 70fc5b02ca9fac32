"""Access keys of the HyperPod API on a real cluster: made, listed and taken back by `holdfast key`."""
import json
import os
import ssl
import stat
import unittest
import urllib.request

from cluster import Cluster


class Keys(unittest.TestCase):
    def test_the_life_of_a_key(self):
        with Cluster(1, 0) as cluster:
            first = cluster.json("key", "list")["keys"]
            self.assertEqual([key["role"] for key in first], ["admin"])
            with open(os.path.join(cluster.state, "client", "credentials")) as file:
                credentials = file.read()
            self.assertIn("aws_access_key_id = " + first[0]["id"], credentials)

            made = cluster.json("key", "create", "--role", "viewer")
            self.assertEqual(len(made["secret"]), 40)
            listed = cluster.cli("key", "list")
            self.assertIn(made["key"]["id"], listed)
            for name in os.listdir(cluster.state):
                path = os.path.join(cluster.state, name)
                if name.startswith("access_keys"):
                    self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600, name)
                    with open(path) as file:
                        self.assertNotIn(made["secret"], file.read())
            with open(os.path.join(cluster.state, "server.log")) as file:
                self.assertNotIn(made["secret"], file.read())

            cluster.cli("key", "disable", made["key"]["id"])
            states = {key["id"]: key["state"] for key in cluster.json("key", "list")["keys"]}
            self.assertEqual(states[made["key"]["id"]], "disabled")
            cluster.cli("key", "delete", made["key"]["id"])
            self.assertEqual(cluster.json("key", "list")["keys"], first)
            self.assertEqual(cluster.call("key", "delete", made["key"]["id"]).returncode, 4)
            wrong = cluster.call("key", "create", "--role", "root")
            self.assertEqual(wrong.returncode, 2)
            self.assertIn("viewer, operator, admin", wrong.stderr)

    def test_the_document_of_the_api_is_served(self):
        with Cluster(1, 0) as cluster:
            with open(os.path.join(cluster.state, "client.json")) as file:
                client = json.load(file)
            context = ssl.create_default_context(cafile=os.path.join(cluster.state, client["ca"]))
            context.load_cert_chain(os.path.join(cluster.state, client["cert"]),
                                    os.path.join(cluster.state, client["key"]))
            with urllib.request.urlopen(client["api"] + "/v1/openapi", context=context) as answer:
                self.assertEqual(answer.headers["Content-Type"], "application/yaml")
                self.assertTrue(answer.read().startswith(b"openapi: 3"))


if __name__ == "__main__":
    unittest.main()
