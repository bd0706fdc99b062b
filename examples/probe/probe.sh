#!/usr/bin/env bash
# A quarter of an hour of KWOK, from which `podpace calibrate` fits the unit costs of your machine.
#
#   examples/probe/probe.sh measured        writes measured/{nodes-100,nodes-1000,nodes-1000-again,slow-client}/
#   podpace validate  measured
#   podpace calibrate measured --profile kube-scheduler-1.36 --out models.mine/kube-scheduler-1.36.yaml
#
# Needs kwokctl (binary runtime), the kube-scheduler binary that kwokctl has fetched, curl and an idle machine. It makes a
# cluster named podpace-probe and deletes it at the end.
#
# Each run: nodes and pending pods are made while no scheduler runs; all processes are scraped; the scheduler starts; when
# all pods are bound, they are scraped again. The audit log has each binding to the microsecond.
set -euo pipefail

out=${1:?usage: probe.sh OUT_DIR}
here=$(cd "$(dirname "$0")" && pwd)
cluster=podpace-probe
cores=$(nproc)
etcd_port=${ETCD_PORT:-22379}
scheduler_port=${SCHEDULER_PORT:-20259}
work=$(mktemp -d)
export KUBECONFIG=$work/kubeconfig
kubectl() { kwokctl --name "$cluster" kubectl "$@"; }

cat >"$work/audit-policy.yaml" <<'POLICY'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create]
    resources: [{group: "", resources: [pods, pods/binding]}]
  - level: None
POLICY

finish() {
  [ -n "${scheduler:-}" ] && kill "$scheduler" 2>/dev/null || true
  kwokctl delete cluster --name "$cluster" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

# scrape before|after RUN PROCESS COMMAND...: one process' /metrics, with the time of the scrape.
scrape() {
  local when=$1 run=$2 process=$3
  shift 3
  mkdir -p "$out/$run/$when"
  { echo "# scraped $(date +%s.%N)"; "$@"; } >"$out/$run/$when/$process.metrics"
}

# run NAME NODES PODS QPS BURST
run() {
  local name=$1 nodes=$2 pods=$3 qps=$4 burst=$5
  echo "== $name: $nodes nodes, $pods pods, qps $qps" >&2
  kwokctl create cluster --name "$cluster" --runtime binary --wait 2m --disable kube-scheduler,kube-controller-manager \
    --etcd-port "$etcd_port" --kube-audit-policy "$work/audit-policy.yaml" --kubeconfig "$KUBECONFIG"
  # KWOK's default node: 32 CPUs, 256Gi, 110 pods, as scenario.yaml says.
  kwokctl --name "$cluster" scale node --replicas "$nodes"
  kubectl create serviceaccount default >/dev/null 2>&1 || true
  kwokctl --name "$cluster" scale pod --replicas "$pods"
  until [ "$(kubectl get pods -o name | wc -l)" -ge "$pods" ]; do sleep 1; done
  sleep 5

  cat >"$work/scheduler.yaml" <<CONFIG
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: $KUBECONFIG, qps: $qps, burst: $burst}
leaderElection: {leaderElect: false}
CONFIG
  scrape before "$name" apiserver kubectl get --raw /metrics
  scrape before "$name" etcd curl -sf "http://127.0.0.1:$etcd_port/metrics"
  kube-scheduler --config "$work/scheduler.yaml" --secure-port "$scheduler_port" \
    --authorization-always-allow-paths=/metrics >"$work/scheduler.log" 2>&1 &
  scheduler=$!
  # As soon as it answers: its counters begin at zero.
  until scrape before "$name" scheduler curl -skf "https://127.0.0.1:$scheduler_port/metrics" 2>/dev/null; do sleep 0.1; done
  until [ "$(kubectl get pods --field-selector spec.nodeName= -o name | wc -l)" -eq 0 ]; do sleep 1; done
  sleep 2
  scrape after "$name" scheduler curl -skf "https://127.0.0.1:$scheduler_port/metrics"
  scrape after "$name" apiserver kubectl get --raw /metrics
  scrape after "$name" etcd curl -sf "http://127.0.0.1:$etcd_port/metrics"
  kwokctl --name "$cluster" logs audit >"$out/$name/audit.log"
  sed -e "s/NODES/$nodes/; s/PODS/$pods/; s/QPS/$qps/; s/BURST/$burst/; s/CORES/$cores/" \
    "$here/scenario.yaml" >"$out/$name/scenario.yaml"
  kill "$scheduler" && wait "$scheduler" 2>/dev/null || true
  kwokctl delete cluster --name "$cluster"
}

if ! command -v kube-scheduler >/dev/null; then
  echo "no kube-scheduler in PATH: \`kwokctl get artifacts --runtime binary\` names the one that kwokctl uses" >&2
  exit 2
fi
mkdir -p "$out"
run nodes-100 100 3000 5000 5000
run nodes-1000 1000 3000 5000 5000
run nodes-1000-again 1000 3000 5000 5000
run slow-client 500 1500 50 100
echo "measured: $out" >&2
