"""What must hold between the objects that the chart makes. An API server checks each of them alone."""
import yaml

KINDS = {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service",
         "ServiceMonitor", "TLSRoute"}
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def problems(objects):
    """Returns what is wrong, a line each."""
    return list(duplicates(objects)) + [problem for one in objects for problem in CHECKS.get(one["kind"], nothing)(one, objects)]


def nothing(_one, _objects):
    return ()


def duplicates(objects):
    seen = set()
    for one in objects:
        name = (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        if not name[1]:
            yield f"{name} has no namespace"
        if name in seen:
            yield f"{name} is there twice"
        seen.add(name)


def of_pod(one, objects):
    """The restricted profile, and what a pod needs so that it is not disturbed."""
    spec = one["spec"]["template"]["spec"] if one["kind"] == "Deployment" else one["spec"]
    name = one["metadata"]["name"]
    pod = spec.get("securityContext", {})
    if pod.get("runAsNonRoot") is not True or pod.get("seccompProfile", {}).get("type") != "RuntimeDefault" or not pod.get("fsGroup"):
        yield f"{name}: the security of the pod is {pod}"
    if spec.get("enableServiceLinks") is not False:
        yield f"{name}: variables of Services reach the gate"
    if spec.get("automountServiceAccountToken") is not False:
        yield f"{name}: the token of the service account is mounted"
    for container in spec.get("initContainers", []) + spec["containers"]:
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: the security of the container {container['name']} is {security}"
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: the container {container['name']} may write to its image"
        if any("subPath" in mount for mount in container.get("volumeMounts", [])):
            yield f"{name}: Kubernetes never updates a mount with subPath"
    if one["kind"] == "Deployment" and "redis" not in name:
        yield from of_gate(spec, objects)


def of_gate(spec, objects):
    config = yaml.safe_load(next(one for one in objects if one["kind"] == "ConfigMap")["data"]["moorgate.yml"])
    http = config["http"]
    drain = seconds(http["drain_delay"]) + seconds(http.get("drain_timeout", "5m"))
    if spec["terminationGracePeriodSeconds"] <= drain:
        yield f"the pod is killed after {spec['terminationGracePeriodSeconds']} s, and a drain takes {drain} s"
    gate = spec["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in gate["ports"]}
    public = "https" if http.get("tls") else "http"
    wanted = {public: int(http["addr"].rpartition(":")[2]), "admin": int(config["admin"]["addr"].rpartition(":")[2])}
    if ports != wanted:
        yield f"the ports are {ports}, and the config says {wanted}"
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        if gate[probe]["httpGet"] != {"path": path, "port": "admin"}:
            yield f"the {probe} is {gate[probe]}"


def seconds(text):
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * SECONDS[unit]


def pods(objects):
    """Returns each pod or template of one, as its labels, its containers and its namespace."""
    for one in objects:
        if one["kind"] in ("Deployment", "Pod"):
            template = one["spec"]["template"] if one["kind"] == "Deployment" else one
            yield template["metadata"]["labels"], template["spec"]["containers"], one["metadata"]["namespace"], one["metadata"]["name"]


def selected(labels, namespace, objects):
    found = [pod for pod in pods(objects) if pod[2] == namespace and labels.items() <= pod[0].items()]
    return [pod[3] for pod in found], {port["name"] for pod in found for container in pod[1] for port in container.get("ports", [])}


def of_service(one, objects):
    name, spec = one["metadata"]["name"], one["spec"]
    found, ports = selected(spec["selector"], one["metadata"]["namespace"], objects)
    if len(found) != 1:
        yield f"the Service {name} selects {found}"
    for port in spec["ports"]:
        if port["targetPort"] not in ports:
            yield f"the Service {name} has the port {port['targetPort']}, which no pod has"
        if port["targetPort"] == "admin" and spec.get("clusterIP") != "None":
            yield f"the Service {name} publishes the admin port"


def of_selector(one, objects):
    """A Deployment, a budget or a policy of this namespace selects the pods of one Deployment."""
    name = f"{one['kind']} {one['metadata']['name']}"
    selector = one["spec"].get("selector") or one["spec"]["podSelector"]
    found, _ = selected(selector["matchLabels"], one["metadata"]["namespace"], objects)
    if len(found) != 1:
        yield f"{name} selects {found}"


def of_deployment(one, objects):
    yield from of_pod(one, objects)
    yield from of_selector(one, objects)


def of_policy(one, objects):
    name = one["metadata"]["name"]
    if name.endswith("-registry"):
        yield from of_registry_policy(one, objects)
    else:
        yield from of_selector(one, objects)


def of_registry_policy(one, objects):
    """The first rule admits the pods of the gate, and no other pod; without `from`, a rule would admit every pod."""
    rules = one["spec"]["ingress"]
    if one["spec"]["policyTypes"] != ["Ingress"] or any(not rule.get("from") for rule in rules):
        yield f"the way past the gate is open: {one['spec']}"
        return
    (peer,) = rules[0]["from"]
    namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    found, _ = selected(peer["podSelector"]["matchLabels"], namespace, objects)
    if sorted(found) != ["moorgate", "moorgate-check"]:
        yield f"the registry admits {found}"


def of_monitor(one, objects):
    labels = one["spec"]["selector"]["matchLabels"]
    found = [service for service in objects if service["kind"] == "Service" and labels.items() <= service["metadata"]["labels"].items()]
    if [service["metadata"]["name"] for service in found] != ["moorgate-admin"]:
        yield f"the ServiceMonitor selects {found}"
    for endpoint in one["spec"]["endpoints"]:
        # Without it, the name of the Service, for which no alert is written.
        if {"targetLabel": "job", "replacement": "moorgate"} not in endpoint.get("relabelings", []):
            yield f"the label job of the gates is not moorgate: {endpoint}"


def of_scaler(one, objects):
    if not 2 <= one["spec"]["minReplicas"] < one["spec"]["maxReplicas"]:
        yield f"the autoscaler keeps {one['spec']['minReplicas']} to {one['spec']['maxReplicas']} replicas"
    target = one["spec"]["scaleTargetRef"]["name"]
    for deployment in objects:
        if deployment["kind"] == "Deployment" and deployment["metadata"]["name"] == target:
            if "replicas" in deployment["spec"]:
                yield "the Deployment sets its replicas, and the autoscaler too"
            return
    yield f"the autoscaler scales {target}, which is not there"


def of_route(one, objects):
    """An Ingress or a TLSRoute leads to a port of the public Service, for the host of the external URL."""
    config = yaml.safe_load(next(one for one in objects if one["kind"] == "ConfigMap")["data"]["moorgate.yml"])
    spec, is_ingress = one["spec"], one["kind"] == "Ingress"
    host = spec["rules"][0]["host"] if is_ingress else spec["hostnames"][0]
    if f"//{host}" not in config["http"]["external_url"]:
        yield f"the {one['kind']} is for {host}"
    if is_ingress:
        backend = spec["rules"][0]["http"]["paths"][0]["backend"]["service"]
        wanted = (backend["name"], backend["port"]["name"])
    else:
        backend = spec["rules"][0]["backendRefs"][0]
        wanted = (backend["name"], backend["port"])
    services = {(service["metadata"]["name"], port[key]) for service in objects if service["kind"] == "Service"
                for port in service["spec"]["ports"] for key in ("name", "port")}
    if wanted not in services:
        yield f"the {one['kind']} leads to {wanted}, which is not there"


CHECKS = {"Deployment": of_deployment, "Pod": of_pod, "Service": of_service, "PodDisruptionBudget": of_selector, "NetworkPolicy": of_policy,
          "ServiceMonitor": of_monitor, "HorizontalPodAutoscaler": of_scaler, "Ingress": of_route, "TLSRoute": of_route}
