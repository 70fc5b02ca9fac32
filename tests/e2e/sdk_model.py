"""AWS's model of HyperPod's operations for botocore, made from the tables that the server itself has
(src/api/hyperpod/service_model.inc): Debian's botocore is older than HyperPod."""
import json
import os
import re

TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "../../src/api/hyperpod/service_model.inc")
METADATA = {"apiVersion": "2017-07-24", "endpointPrefix": "api.sagemaker", "jsonVersion": "1.1",
            "protocol": "json", "serviceAbbreviation": "SageMaker", "serviceId": "SageMaker",
            "serviceFullName": "Amazon SageMaker Service", "signatureVersion": "v4",
            "signingName": "sagemaker", "targetPrefix": "SageMaker", "uid": "sagemaker-2017-07-24"}
RESULTS = {"ListClusters": "ClusterSummaries", "ListClusterNodes": "ClusterNodeSummaries",
           "ListClusterEvents": "Events", "ListClusterOperations": "ClusterOperationSummaries",
           "ListComputeQuotas": "ComputeQuotaSummaries",
           "ListClusterSchedulerConfigs": "ClusterSchedulerConfigSummaries", "ListTags": "Tags"}


def read_tables():
    with open(TABLES) as file:
        text = file.read()
    members = {name: re.findall(r'\{"(\w+)", k(\w+), (true|false)\}', body) for name, body in re.findall(
        r"constexpr Member kMembersOf(\w+)\[\] = \{(.*?)\n\};", text, re.S)}
    words = {name: json.loads("[%s]" % body) for name, body in re.findall(
        r"constexpr std::string_view k((?:Words|Errors)Of\w+)\[\] = \{(.*?)\};", text, re.S)}
    shapes = {}
    for name, kind, rest in re.findall(r'^    \{\.name = "(\w+)", \.type = Type::k(\w+)(.*)\},$', text, re.M):
        shape = shapes[name] = {"type": kind.lower()}
        for limit, value in re.findall(r"\.(min|max) = (-?\d+)", rest):
            shape[limit] = int(value)
        pattern = re.search(r'\.pattern = R"re\((.*?)\)re"', rest)
        if pattern:
            shape["pattern"] = pattern.group(1)
        if kind == "Structure":
            shape["members"] = {member: {"shape": of} for member, of, _ in members.get(name, [])}
            shape["required"] = [member for member, _, is_required in members.get(name, [])
                                 if is_required == "true"]
            shape["union"] = ".is_union = true" in rest
        if "WordsOf" + name in words and kind == "String":
            shape["enum"] = words["WordsOf" + name]
        item = re.search(r"\.item = k(\w+)", rest)
        if item:
            shape["member" if kind == "List" else "value"] = {"shape": item.group(1)}
        key = re.search(r"\.key = k(\w+)", rest)
        if key:
            shape["key"] = {"shape": key.group(1)}
    operations = {}
    for name, given, answer in re.findall(
            r'^    \{"(\w+)", kShapes\[k(\w+)\], (nullptr|&kShapes\[k\w+\]),', text, re.M):
        errors = words.get("ErrorsOf" + name, [])
        operations[name] = {"name": name, "http": {"method": "POST", "requestUri": "/"},
                            "input": {"shape": given}, "errors": [{"shape": error} for error in errors]}
        if answer != "nullptr":
            operations[name]["output"] = {"shape": answer[len("&kShapes[k"):-1]}
        for error in errors:
            shapes[error] = {"type": "structure", "members": {"Message": {"shape": "ErrorText"}},
                             "exception": True}
    shapes["ErrorText"] = {"type": "string"}
    return {"version": "2.0", "metadata": METADATA, "operations": operations, "shapes": shapes}


def write(folder):
    """For AWS_DATA_PATH or botocore's configuration variable data_path."""
    where = os.path.join(folder, "sagemaker", "2017-07-24")
    os.makedirs(where)
    pages = {name: {"input_token": "NextToken", "output_token": "NextToken", "limit_key": "MaxResults",
                    "result_key": key} for name, key in RESULTS.items()}
    for name, data in (("service-2", read_tables()), ("paginators-1", {"pagination": pages})):
        with open(os.path.join(where, name + ".json"), "w") as file:
            json.dump(data, file)


def session(botocore_session, folder):
    made = botocore_session.Session()
    made.set_config_variable("data_path", folder)
    return made
