#!/usr/bin/env python3
"""Makes src/api/hyperpod/service_model.inc, the tables that requests are validated against, from
botocore's model of SageMaker: service_model.py MODEL [--version V] [--check]

MODEL is botocore/data/sagemaker/2017-07-24/service-2.json.gz (or .json) of an unpacked botocore
(Apache-2.0); the version is read from the botocore-V.dist-info beside it. Only facts are taken over
(names, types, limits), of the shapes that HyperPod's operations reach. With --check nothing is
written, and the exit status is 1 when the file is not what MODEL gives.
"""
import argparse
import gzip
import json
import pathlib
import re
import sys

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "src/api/hyperpod/service_model.inc"

OPERATIONS = """
AddTags AttachClusterNodeNetworkInterface AttachClusterNodeVolume BatchAddClusterNodes
BatchDeleteClusterNodes BatchRebootClusterNodes BatchReplaceClusterNodes CreateCluster
CreateClusterExtension CreateClusterSchedulerConfig CreateComputeQuota CreateTrainingPlan
DeleteCluster DeleteClusterExtension DeleteClusterSchedulerConfig DeleteComputeQuota DeleteTags
DescribeCluster DescribeClusterEvent DescribeClusterExtension DescribeClusterNode
DescribeClusterOperation DescribeClusterSchedulerConfig DescribeComputeQuota
DescribeReservedCapacity DescribeTrainingPlan DescribeTrainingPlanExtensionHistory
DetachClusterNodeVolume ExtendTrainingPlan ListClusterEvents ListClusterExtensionVersions
ListClusterExtensions ListClusterNodes ListClusterOperations ListClusterSchedulerConfigs
ListClusters ListComputeQuotas ListTags ListTrainingPlans ListUltraServersByReservedCapacity
MoveClusterNodes SearchTrainingPlanOfferings StartClusterHealthCheck UpdateCluster
UpdateClusterExtension UpdateClusterSchedulerConfig UpdateClusterSoftware UpdateComputeQuota
""".split()

# On one's own machines a type has the name that its provider gave it: the model's list of AWS's
# types is left open.
OPEN = {"ClusterInstanceType": {"type": "string", "min": 1, "max": 64,
                                "pattern": "[A-Za-z0-9][A-Za-z0-9._-]*"}}

# RE2 knows no lookahead. The second is a limit of length that the shape has as `max` too.
TRANSLATED = {
    r"(?!\s*$).+": r".*\S.*",
    r"(?=.{1,255}$)([a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?)"
    r"(\.[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?)*":
    r"([a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?)*",
}


def read_model(path):
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def version_of(path):
    for folder in path.resolve().parents:
        for info in folder.glob("botocore-*.dist-info"):
            return info.name.removeprefix("botocore-").removesuffix(".dist-info")
        match = re.fullmatch(r"botocore-([0-9.]+)", folder.name)
        if match:
            return match.group(1)
    sys.exit(f"{path}: no botocore-V.dist-info is beside it; say --version V")


def reached(model):
    """The shapes that the operations reach, by name."""
    shapes, path = {}, []

    def visit(name):
        if name in path:
            sys.exit(f"{name} contains itself: the validator would have to limit its depth")
        if name in shapes:
            return
        path.append(name)
        shapes[name] = OPEN.get(name, model["shapes"][name])
        for member in shapes[name].get("members", {}).values():
            visit(member["shape"])
        for part in ("member", "key", "value"):
            if part in shapes[name]:
                visit(shapes[name][part]["shape"])
        path.pop()

    for operation in OPERATIONS:
        for part in ("input", "output"):
            if part in model["operations"][operation]:
                visit(model["operations"][operation][part]["shape"])
    return dict(sorted(shapes.items()))


def quoted(text):
    return json.dumps(text)


def raw(pattern):
    return f'R"re({pattern})re"'


def shape_line(name, shape):
    fields = [f".name = {quoted(name)}", f".type = Type::k{shape['type'].capitalize()}"]
    if shape.get("members"):
        fields.append(f".members = kMembersOf{name}")
    if shape.get("union"):
        fields.append(".is_union = true")
    if "key" in shape:
        fields.append(f".key = k{shape['key']['shape']}")
    if shape["type"] in ("list", "map"):
        item = shape["member" if shape["type"] == "list" else "value"]["shape"]
        fields.append(f".item = k{item}")
    fields += [f".{limit} = {int(shape[limit])}" for limit in ("min", "max") if limit in shape]
    if "pattern" in shape:
        pattern = shape["pattern"]
        taken = TRANSLATED.get(pattern, pattern)
        if re.search(r"\(\?[=!<]|\\[1-9]", taken):
            sys.exit(f"{name}: RE2 cannot take {pattern}: add it to TRANSLATED")
        fields.append(f".pattern = {raw(pattern)}")
        if taken != pattern:
            fields.append(f".translated = {raw(taken)}")
    if "enum" in shape:
        fields.append(f".words = kWordsOf{name}")
    return f"    {{{', '.join(fields)}}},"


def generate(model, version):
    shapes = reached(model)
    lines = ["// Made by tools/service_model.py; do not edit. Facts from botocore's model of SageMaker",
             "// (Apache-2.0).",
             f'constexpr std::string_view kVersion = "botocore {version}";', "",
             "enum : ShapeId {", *(f"  k{name}," for name in shapes), "};", ""]
    for name, shape in shapes.items():
        if shape.get("members"):
            required = shape.get("required", [])
            lines.append(f"constexpr Member kMembersOf{name}[] = {{")
            lines += [f"    {{{quoted(member)}, k{target['shape']}, "
                      f"{'true' if member in required else 'false'}}},"
                      for member, target in shape["members"].items()]
            lines.append("};")
        if "enum" in shape:
            lines.append(f"constexpr std::string_view kWordsOf{name}[] = {{"
                         + ", ".join(map(quoted, shape["enum"])) + "};")
    for name in OPERATIONS:
        errors = [quoted(error["shape"]) for error in model["operations"][name].get("errors", [])]
        if errors:
            lines.append(f"constexpr std::string_view kErrorsOf{name}[] = {{{', '.join(errors)}}};")
    lines += ["", "constexpr Shape kShapes[] = {",
              *(shape_line(name, shape) for name, shape in shapes.items()), "};", "",
              "constexpr Operation kOperations[] = {"]
    for name in OPERATIONS:
        operation = model["operations"][name]
        output = f"&kShapes[k{operation['output']['shape']}]" if "output" in operation else "nullptr"
        errors = f"kErrorsOf{name}" if operation.get("errors") else "{}"
        lines.append(f"    {{{quoted(name)}, kShapes[k{operation['input']['shape']}], {output}, "
                     f"{errors}}},")
    return "\n".join(lines + ["};", ""])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=pathlib.Path)
    arguments.add_argument("--version", help="of botocore")
    arguments.add_argument("--check", action="store_true", help="say whether the file is up to date")
    chosen = arguments.parse_args()
    text = generate(read_model(chosen.model), chosen.version or version_of(chosen.model))
    if not chosen.check:
        OUTPUT.write_text(text, encoding="utf-8")
    elif not OUTPUT.exists() or OUTPUT.read_text(encoding="utf-8") != text:
        sys.exit(f"{OUTPUT.name} is not what {chosen.model} gives: run {sys.argv[0]} {chosen.model}")


if __name__ == "__main__":
    main()
