use super::*;

/// A configuration with these lines after the header.
fn parse(body: &str) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{body}");
    read(&ConfigFile::parse("config.yaml", &text)?)
}

fn good(body: &str) -> SchedulerConfig {
    parse(body).unwrap_or_else(|errors| panic!("{body}\n{}", errors[0]))
}

/// Defaults: `TestSchedulerDefaults` in `pkg/scheduler/apis/config/v1/defaults_test.go`.
#[test]
fn an_empty_configuration_is_the_default() {
    let config = good("");
    assert_eq!(config.settings, Settings::default());
    assert_eq!((config.qps_milli, config.burst), (Some(50_000), Some(100)));
    assert!(config.notes.is_empty());
    // One profile without anything is the same.
    assert_eq!(good("profiles: [{}]\n").settings, Settings::default());
    assert_eq!(good("profiles: [{schedulerName: default-scheduler}]\n").settings, Settings::default());
}

/// A file as managed clusters have it; fields of kubeadm's and of the documentation's examples.
#[test]
fn everything_that_counts_is_read() {
    let config = good(
        "\
parallelism: 32
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
clientConnection:
  kubeconfig: /etc/kubernetes/scheduler.conf
  qps: 1000.5
  burst: 2000
leaderElection:
  leaderElect: true
  leaseDuration: 15s
  renewDeadline: 10s
  retryPeriod: 2s
  resourceLock: leases
  resourceName: kube-scheduler
  resourceNamespace: kube-system
profiles:
- schedulerName: packing
  percentageOfNodesToScore: 70
  plugins:
    score:
      enabled: [{name: NodeResourcesFit, weight: 5}, {name: ImageLocality}]
      disabled: [{name: PodTopologySpread}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResources: [example.com/foo]
      ignoredResourceGroups: [example.org]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: cpu, weight: 3}, {name: nvidia.com/gpu}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 50, ignorePreferredTermsOfExistingPods: true}
  - name: DefaultPreemption
    args: {minCandidateNodesPercentage: 5, minCandidateNodesAbsolute: 50}
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
          - matchExpressions: [{key: pool, operator: In, values: [batch]}]
          - matchFields: [{key: metadata.name, operator: In, values: [node-1]}]
        preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 7
          preference: {matchExpressions: [{key: disk, operator: Exists}]}
  - name: NodeResourcesBalancedAllocation
    args: {resources: [{name: cpu, weight: 1}, {name: nvidia.com/gpu, weight: 1}]}
",
    );
    let s = &config.settings;
    assert_eq!((s.parallelism, s.percentage_of_nodes_to_score), (32, 70), "the profile's share wins");
    assert_eq!((s.pod_initial_backoff_ns, s.pod_max_backoff_ns), (2 * SECOND, 20 * SECOND));
    assert_eq!((config.qps_milli, config.burst), (Some(1_000_500), Some(2000)));
    let weights = Weights { fit: 5, spread: 0, ..Plugins::DEFAULT.weights };
    assert_eq!(s.kube.plugins, Plugins { weights, ..Plugins::DEFAULT });
    assert_eq!(s.scoring_strategy, ScoringStrategy::RequestedToCapacityRatio);
    assert_eq!(s.kube.fit_shape, [(0, 0), (100, 100)]);
    let weigh = |name: &str, weight| ResourceWeight { name: name.into(), weight };
    assert_eq!(s.kube.fit_resources, [weigh("cpu", 3), weigh("nvidia.com/gpu", 1)]);
    assert_eq!(s.kube.balanced_resources, [weigh("cpu", 1), weigh("nvidia.com/gpu", 1)]);
    assert!(!s.kube.regards_resource("example.com/foo") && !s.kube.regards_resource("example.org/bar"));
    assert!(s.kube.regards_resource("example.com/bar"));
    assert_eq!(s.kube.hard_pod_affinity_weight, 50);
    assert!(s.kube.ignore_preferred_terms_of_existing_pods);
    assert_eq!((s.kube.min_candidate_nodes_percentage, s.kube.min_candidate_nodes_absolute), (5, 50));
    assert_eq!(s.kube.added_required.len(), 2);
    assert_eq!(s.kube.added_required[1].fields[0].key, "metadata.name");
    assert_eq!(s.kube.added_preferred[0].weight, 7);
}

/// Several profiles (`TestValidateKubeSchedulerConfiguration` and the page "Scheduler Configuration", Multiple Profiles): each
/// has plugins, arguments and a percentage of its own; what it leaves out is the default, not the first one's.
#[test]
fn profiles_are_told_apart() {
    let config = good(
        "\
percentageOfNodesToScore: 40
profiles:
- schedulerName: default-scheduler
- schedulerName: no-scoring-scheduler
  percentageOfNodesToScore: 100
  plugins:
    preScore: {disabled: [{name: '*'}]}
    score: {disabled: [{name: '*'}]}
  pluginConfig:
  - name: PodTopologySpread
    args:
      defaultingType: List
      defaultConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, minDomains: 3}]
",
    );
    let s = &config.settings;
    assert_eq!((s.scheduler_name.as_str(), s.percentage_of_nodes_to_score), ("default-scheduler", 40));
    assert_eq!(s.kube, crate::scheduler::kube::Profile::default());
    let [second] = &s.more_profiles[..] else { panic!("two profiles") };
    assert_eq!(
        (second.scheduler_name.as_str(), second.percentage_of_nodes_to_score),
        ("no-scoring-scheduler", 100)
    );
    assert!(!second.profile.plugins.scores() && second.profile.plugins.fit);
    assert!(!second.profile.system_defaults);
    let [constraint] = &second.profile.default_constraints[..] else { panic!("one constraint") };
    assert_eq!((constraint.max_skew, constraint.hard, constraint.min_domains), (2, true, 3));
    // `List` without constraints switches the defaults off.
    let none =
        good("profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List}}]}]\n");
    assert!(none.settings.kube.default_constraints.is_empty() && !none.settings.kube.system_defaults);
}

/// Rows of `TestMergePlugins` (`pkg/scheduler/apis/config/v1/default_plugins_test.go`) and of
/// `TestNewFrameworkMultiPointExpansion` (`pkg/scheduler/framework/runtime/framework_test.go`), with plugins of the tree.
#[test]
fn plugins_are_merged_and_expanded_as_the_framework_does() {
    let plugins = |yaml: &str| good(&format!("profiles: [{{plugins: {{{yaml}}}}}]\n")).settings.kube.plugins;
    let d = Plugins::DEFAULT;
    for (yaml, expected) in [
        // A default plugin that is listed again without a weight loses its default weight.
        (
            "multiPoint: {enabled: [{name: TaintToleration}]}",
            Plugins { weights: Weights { taints: 1, ..d.weights }, ..d },
        ),
        (
            "multiPoint: {enabled: [{name: TaintToleration, weight: 8}]}",
            Plugins { weights: Weights { taints: 8, ..d.weights }, ..d },
        ),
        // The extension point's own entry wins over multiPoint.
        (
            "multiPoint: {enabled: [{name: TaintToleration, weight: 8}]}, score: {enabled: [{name: TaintToleration, weight: 4}]}",
            Plugins { weights: Weights { taints: 4, ..d.weights }, ..d },
        ),
        // Switched off at one point, it runs at the others.
        (
            "score: {disabled: [{name: NodeAffinity}]}",
            Plugins { weights: Weights { affinity: 0, ..d.weights }, ..d },
        ),
        ("filter: {disabled: [{name: TaintToleration}]}", Plugins { taints: false, ..d }),
        // Off everywhere.
        (
            "multiPoint: {disabled: [{name: InterPodAffinity}]}",
            Plugins { pod_affinity: false, weights: Weights { pod_affinity: 0, ..d.weights }, ..d },
        ),
        // Everything off at a point but what it enables itself.
        (
            "score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit, weight: 2}]}",
            Plugins {
                weights: Weights {
                    taints: 0,
                    affinity: 0,
                    fit: 2,
                    balanced: 0,
                    spread: 0,
                    pod_affinity: 0,
                    images: 0,
                },
                ..d
            },
        ),
        // Disabled and enabled at the same point: enabled, with the new weight.
        (
            "score: {disabled: [{name: ImageLocality}], enabled: [{name: ImageLocality, weight: 9}]}",
            Plugins { weights: Weights { images: 9, ..d.weights }, ..d },
        ),
        ("postFilter: {disabled: [{name: '*'}]}", Plugins { preemption: false, ..d }),
        // A weight of zero is one.
        (
            "score: {enabled: [{name: TaintToleration, weight: 0}]}",
            Plugins { weights: Weights { taints: 1, ..d.weights }, ..d },
        ),
    ] {
        assert_eq!(plugins(yaml), expected, "{yaml}");
    }
}

#[test]
fn what_has_no_effect_is_noted() {
    let config = good(
        "enableProfiling: true\nprofiles:\n- pluginConfig:\n  - {name: Coscheduling, args: {permitWaitingTimeSeconds: 10}}\n  plugins: {filter: {disabled: [{name: NodeResourceFit}]}}\n",
    );
    let notes = config.notes.join("\n");
    for part in [
        "enableProfiling has no effect here",
        "the plugin `Coscheduling` does not run",
        "there is no plugin `NodeResourceFit`; did you mean `NodeResourcesFit`?",
    ] {
        assert!(notes.contains(part), "{part} in\n{notes}");
    }
}

/// What the kube-scheduler binary 1.36.3 accepts (run on 2026-11-29), although it looks wrong.
#[test]
fn what_kube_scheduler_takes_is_taken() {
    let affinity = |term: &str| {
        format!(
            "profiles: [{{pluginConfig: [{{name: NodeAffinity, args: {{addedAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}}}]}}]\n"
        )
    };
    let selects = "preference: {matchExpressions: [{key: a, operator: In}]}";
    for body in [
        // Zero is the default.
        "leaderElection: {leaseDuration: 0s, renewDeadline: 0s, retryPeriod: 0s}\n".to_owned(),
        "leaderElection: {renewDeadline: 2401ms, leaseDuration: 3s}\n".to_owned(),
        "leaderElection: {leaderElect: false, leaseDuration: 1s, resourceLock: endpoints}\n".to_owned(),
        "profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: ''}}]}]\n".to_owned(),
        // Plugins that read no arguments.
        "profiles: [{pluginConfig: [{name: NodeName, args: {a: 1}}, {name: ImageLocality}]}]\n".to_owned(),
        "profiles: [{plugins: {placementScore: {disabled: [{name: '*'}]}}}]\n".to_owned(),
        "profiles: [{plugins: {multiPoint: {disabled: [{name: GangScheduling}]}}}]\n".to_owned(),
        // A term that weighs nothing is not looked at.
        affinity(&format!("{{weight: 0, {selects}}}")),
        affinity(&format!("{{{selects}}}")),
    ] {
        let config = good(&body);
        assert!(config.settings.kube.added_preferred.is_empty());
        assert_eq!(config.settings, Settings::default(), "{body}");
    }
    let constraint = good(
        "profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, minDomains: -1}]}}]}]\n",
    );
    assert_eq!(
        constraint.settings.kube.default_constraints[0].min_domains, 0,
        "never fewer domains than that"
    );
    let shape = good(
        "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{}, {utilization: 10}]}}}}]}]\n",
    );
    assert_eq!(shape.settings.kube.fit_shape, [(0, 0), (10, 0)], "a number that is left out is 0");
}

/// Wrong files: what is said, at which path and line. Words after "refuses this" are those of the binary of 1.36.3 (run on
/// 2026-11-29) and of `pkg/scheduler/apis/config/validation/validation_test.go`, `validation_pluginargs_test.go` and `framework.go`.
#[test]
fn wrong_configurations_are_refused_in_the_words_of_kube_scheduler() {
    let profile = |yaml: &str| format!("profiles:\n- plugins: {{{yaml}}}\n");
    let args = |name: &str, yaml: &str| {
        format!("profiles:\n- pluginConfig:\n  - name: {name}\n    args: {{{yaml}}}\n")
    };
    let fit = |yaml: &str| args("NodeResourcesFit", &format!("scoringStrategy: {{{yaml}}}"));
    let spread = |yaml: &str| args("PodTopologySpread", yaml);
    let added = |yaml: &str| {
        let terms =
            format!("requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{{yaml}}}]}}");
        args("NodeAffinity", &format!("addedAffinity: {{{terms}}}"))
    };
    let cases: Vec<(String, &str, &str)> = vec![
        (
            "parallelism: 0\n".into(),
            "parallelism",
            "Invalid value: 0: should be an integer value greater than zero",
        ),
        ("parallelism: many\n".into(), "parallelism", "expected a whole number, got `many`"),
        ("percentageOfNodesToScore: 101\n".into(), "percentageOfNodesToScore", "not in valid range [0-100]"),
        (
            "percentageOfNodesToScore: -1\n".into(),
            "percentageOfNodesToScore",
            "Invalid value: -1: not in valid range",
        ),
        ("podInitialBackoffSeconds: 0\n".into(), "podInitialBackoffSeconds", "must be greater than 0"),
        (
            "podInitialBackoffSeconds: -5\n".into(),
            "podInitialBackoffSeconds",
            "Invalid value: -5: must be greater than 0",
        ),
        (
            "podInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 4\n".into(),
            "podMaxBackoffSeconds",
            "Invalid value: 4: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "podInitialBackoffSeconds: 11\n".into(),
            "podInitialBackoffSeconds",
            "must be greater than or equal",
        ),
        ("clientConnection: {burst: -1}\n".into(), "clientConnection.burst", "must be non-negative"),
        ("clientConnection: {qps: -1}\n".into(), "clientConnection.qps", "not modelled: no limit at all"),
        ("clientConnection: {qps: fast}\n".into(), "clientConnection.qps", "got `fast`"),
        ("clientConnection: {rate: 5}\n".into(), "clientConnection.rate", "unknown key"),
        (
            "leaderElection: {resourceLock: endpoints}\n".into(),
            "leaderElection.resourceLock",
            "must be \"leases\"",
        ),
        (
            "leaderElection: {leaseDuration: 5s}\n".into(),
            "leaderElection.leaseDuration",
            "Invalid value: \"10s\": must be greater than `RenewDeadline`",
        ),
        (
            "leaderElection: {leaseDuration: 10s}\n".into(),
            "leaderElection.leaseDuration",
            "Invalid value: \"10s\": must be greater than `RenewDeadline`",
        ),
        (
            "leaderElection: {renewDeadline: 2400ms}\n".into(),
            "leaderElection.renewDeadline",
            "couldn't create leader elector: renewDeadline must be greater than retryPeriod*JitterFactor",
        ),
        (
            "parallelism: 2147483648\n".into(),
            "parallelism",
            "json: cannot unmarshal number 2147483648 into",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', managedResources: [{name: requests.a.b/c}]}]\n".into(),
            "extenders[0].managedResources[0].name",
            "is an invalid extended resource name",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', managedResources: [{name: 'a b/c'}]}]\n".into(),
            "extenders[0].managedResources[0].name",
            "Invalid value: \"a b/c\": ",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', tlsConfig: {foo: true}}]\n".into(),
            "extenders[0].tlsConfig.foo",
            "unknown key",
        ),
        ("leaderElection: {leaseDuration: 15}\n".into(), "leaderElection.leaseDuration", "15"),
        ("healthzBindAddress: 0.0.0.0:10251\n".into(), "healthzBindAddress", "unknown key"),
        ("percentageOfNodeToScore: 5\n".into(), "percentageOfNodeToScore", "unknown key"),
        (
            "extenders: [{urlPrefix: 'http://x'}]\n".into(),
            "extenders[0]",
            "not modelled: the extender at \"http://x\"",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]\n".into(),
            "extenders[0].weight",
            "must have a positive weight applied to it",
        ),
        (
            "extenders: [{bindVerb: b}, {bindVerb: b}]\n".into(),
            "extenders",
            "only one extender can implement bind",
        ),
        (
            "extenders: [{managedResources: [{name: cpu}]}]\n".into(),
            "extenders[0].managedResources[0].name",
            "is an invalid extended resource name",
        ),
        (
            "extenders: [{managedResources: [{name: a.b/c}]}, {managedResources: [{name: a.b/c}]}]\n".into(),
            "extenders[1].managedResources[0].name",
            "duplicate extender managed resource name",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', filterverb: f}]\n".into(),
            "extenders[0].filterverb",
            "unknown key",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]\n".into(),
            "profiles[1].plugins.queueSort",
            "must be the same for all profiles",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, percentageOfNodesToScore: 101}]\n".into(),
            "profiles[1].percentageOfNodesToScore",
            "not in valid range [0-100]",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {bind: {disabled: [{name: '*'}]}}}]\n".into(),
            "profiles[1].plugins",
            "at least one bind plugin is needed for profile with scheduler name \"b\"",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, pluginConfig: [{name: DynamicResources, args: {bindingTimeout: 100ms}}]}]\n".into(),
            "profiles[1].pluginConfig[0].args.bindingTimeout",
            "must be at least 1 second",
        ),
        ("profiles: [{schedulerName: a}, {}]\n".into(), "profiles[1].schedulerName", "Required value"),
        ("profiles: [{schedulerName: ''}]\n".into(), "profiles[0].schedulerName", "Required value"),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]\n".into(),
            "profiles[1].schedulerName",
            "Duplicate value: \"profiles[0].schedulerName\"",
        ),
        (
            "profiles: [{percentageOfNodesToScore: 200}]\n".into(),
            "profiles[0].percentageOfNodesToScore",
            "[0-100]",
        ),
        ("profiles: [{name: a}]\n".into(), "profiles[0].name", "unknown key"),
        (profile("scores: {}"), "profiles[0].plugins.scores", "unknown key `scores`"),
        (profile("score: {enabled: [NodeAffinity]}"), "profiles[0].plugins.score.enabled[0]", "a mapping"),
        (
            profile("score: {enabled: [{name: NodeResourceFit}]}"),
            "profiles[0].plugins.score.enabled[0].name",
            "not modelled: the plugin `NodeResourceFit`, which is not in the tree",
        ),
        (
            profile("permit: {enabled: [{name: Coscheduling}]}"),
            "profiles[0].plugins.permit.enabled[0].name",
            "not modelled: the plugin `Coscheduling`",
        ),
        (
            profile("score: {enabled: [{name: NodeName}]}"),
            "profiles[0].plugins.score.enabled[0].name",
            "plugin \"NodeName\" does not extend ScorePlugin plugin",
        ),
        (
            profile("queueSort: {enabled: [{name: NodeName}]}"),
            "profiles[0].plugins.queueSort.enabled[0].name",
            "plugin \"NodeName\" does not extend QueueSortPlugin plugin",
        ),
        (
            profile("queueSort: {enabled: [{name: PrioritySort}, {name: PrioritySort}]}"),
            "profiles[0].plugins.queueSort.enabled",
            "Invalid value: 2: only one queue sort plugin can be enabled",
        ),
        (
            profile("filter: {enabled: [{name: NodeName}, {name: NodeName}]}"),
            "profiles[0].plugins.filter.enabled[1].name",
            "plugin \"NodeName\" already registered as \"FilterPlugin\"",
        ),
        (
            profile("multiPoint: {enabled: [{name: NodeName}, {name: NodeName}]}"),
            "profiles[0].plugins.multiPoint.enabled[1].name",
            "plugin \"NodeName\" already registered as \"FilterPlugin\"",
        ),
        (
            profile("multiPoint: {enabled: [{name: GangScheduling}]}"),
            "profiles[0].plugins.multiPoint.enabled[0].name",
            "not modelled: the plugin `GangScheduling`, whose feature gate is off by default",
        ),
        (
            profile("placementGenerate: {enabled: [{name: TopologyPlacementGenerator}]}"),
            "profiles[0].plugins.placementGenerate.enabled[0].name",
            "not modelled: the plugin `TopologyPlacementGenerator`",
        ),
        (
            profile("multiPoint: {enabled: [{name: EBSLimits}]}"),
            "profiles[0].plugins.multiPoint.enabled[0].name",
            "PreFilterPlugin \"EBSLimits\" does not exist",
        ),
        (
            profile("score: {enabled: [{name: NodeAffinity, weight: 2147483648}]}"),
            "profiles[0].plugins.score.enabled[0].weight",
            "cannot unmarshal number 2147483648",
        ),
        (
            profile("filter: {enabled: [{name: EBSLimits}]}"),
            "profiles[0].plugins.filter.enabled[0].name",
            "was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")",
        ),
        (
            profile("score: {enabled: [{name: NodeAffinity, weight: -2}]}"),
            "profiles[0].plugins.score.enabled[0].weight",
            "not modelled: a weight that is negative",
        ),
        (
            profile("bind: {disabled: [{name: '*'}]}"),
            "profiles[0].plugins",
            "at least one bind plugin is needed",
        ),
        (
            profile("queueSort: {disabled: [{name: PrioritySort}]}"),
            "profiles[0].plugins",
            "only one queue sort plugin required for profile with scheduler name \"default-scheduler\", but got 0",
        ),
        (
            profile("preFilter: {disabled: [{name: NodeResourcesFit}]}"),
            "profiles[0].plugins",
            "not modelled: NodeResourcesFit in filter without its preFilter",
        ),
        (
            profile("preScore: {disabled: [{name: '*'}]}"),
            "profiles[0].plugins",
            "not modelled: TaintToleration in score without its preScore",
        ),
        (
            "profiles:\n- pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]\n".into(),
            "profiles[0].pluginConfig[1]",
            "Duplicate value: \"NodeAffinity\"",
        ),
        (
            args("CinderLimits", ""),
            "profiles[0].pluginConfig[0].name",
            "Invalid value: \"CinderLimits\": was invalid",
        ),
        (
            args("InterPodAffinity", "kind: NodeAffinityArgs"),
            "profiles[0].pluginConfig[0].args.kind",
            "args for plugin InterPodAffinity were not of type InterPodAffinityArgs.kubescheduler.config.k8s.io, got NodeAffinityArgs.kubescheduler.config.k8s.io",
        ),
        (
            args("InterPodAffinity", "apiVersion: kubescheduler.config.k8s.io/v1beta3"),
            "profiles[0].pluginConfig[0].args.apiVersion",
            "no kind \"InterPodAffinityArgs\" is registered for version \"kubescheduler.config.k8s.io/v1beta3\"",
        ),
        (args("InterPodAffinity", "weight: 5"), "profiles[0].pluginConfig[0].args.weight", "unknown key"),
        (
            args("InterPodAffinity", "hardPodAffinityWeight: 101"),
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight",
            "Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            args("DefaultPreemption", "minCandidateNodesPercentage: -1"),
            "profiles[0].pluginConfig[0].args.minCandidateNodesPercentage",
            "not in valid range [0, 100]",
        ),
        (
            args("DefaultPreemption", "minCandidateNodesAbsolute: -1"),
            "profiles[0].pluginConfig[0].args.minCandidateNodesAbsolute",
            "not in valid range [0, inf)",
        ),
        (
            args("DefaultPreemption", "minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0"),
            "profiles[0].pluginConfig[0].args.minCandidateNodesPercentage",
            "cannot be zero at the same time as minCandidateNodesAbsolute",
        ),
        (
            fit("type: Best"),
            "profiles[0].pluginConfig[0].args.scoringStrategy.type",
            "Unsupported value: \"Best\"",
        ),
        (
            fit("type: LeastAllocated, resources: [{name: cpu, weight: 101}]"),
            "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight",
            "resource weight of cpu not in valid range (0, 100]",
        ),
        (
            fit("type: MostAllocated, resources: [{name: cpu, weight: -1}]"),
            "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight",
            "Invalid value: -1",
        ),
        (
            fit("type: RequestedToCapacityRatio"),
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio",
            "must be specified when type is RequestedToCapacityRatio",
        ),
        (
            fit("type: LeastAllocated, requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}]}"),
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio",
            "must be nil when type is not RequestedToCapacityRatio",
        ),
        (
            fit("type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: []}"),
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape",
            "at least one point must be specified",
        ),
        (
            fit(
                "type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 9, score: 1}, {utilization: 9, score: 2}]}",
            ),
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[1].utilization",
            "values must be sorted in increasing order",
        ),
        (
            fit(
                "type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 101, score: 1}]}",
            ),
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].utilization",
            "not in valid range [0, 100]",
        ),
        (
            fit(
                "type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 1, score: 11}]}",
            ),
            "profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].score",
            "not in valid range [0, 10]",
        ),
        (
            args("NodeResourcesFit", "ignoredResourceGroups: [example.com/foo]"),
            "profiles[0].pluginConfig[0].args.ignoredResourceGroups[0]",
            "resource group name can't contain '/'",
        ),
        (
            args("NodeResourcesFit", "ignoredResources: [a/b/c]"),
            "profiles[0].pluginConfig[0].args.ignoredResources[0]",
            "Invalid value: \"a/b/c\": ",
        ),
        (
            args("NodeResourcesFit", "ignoredResourceGroups: ['a b']"),
            "profiles[0].pluginConfig[0].args.ignoredResourceGroups[0]",
            "Invalid value: \"a b\": name part must consist of",
        ),
        (
            args("NodeResourcesBalancedAllocation", "resources: [{name: cpu, weight: 2}]"),
            "profiles[0].pluginConfig[0].args.resources[0].weight",
            "must be 1",
        ),
        (
            args("NodeResourcesBalancedAllocation", "resources: [{name: cpu}, {name: cpu}]"),
            "profiles[0].pluginConfig[0].args.resources[1].name",
            "Duplicate value: \"cpu\"",
        ),
        (
            spread("defaultingType: All"),
            "profiles[0].pluginConfig[0].args.defaultingType",
            "Unsupported value: \"All\"",
        ),
        (
            spread("defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]"),
            "profiles[0].pluginConfig[0].args.defaultingType",
            "when .defaultConstraints are not empty",
        ),
        (
            spread(
                "defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew",
            "not in valid range (0, inf)",
        ),
        (
            spread(
                "defaultingType: List, defaultConstraints: [{maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints[0].topologyKey",
            "can not be empty",
        ),
        (
            spread(
                "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: 'a b', whenUnsatisfiable: ScheduleAnyway}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints[0].topologyKey",
            "Invalid value: \"a b\": name part must consist of",
        ),
        (
            spread("defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z}]"),
            "profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable",
            "can not be empty",
        ),
        (
            spread(
                "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: Maybe}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable",
            "Unsupported value: \"Maybe\"",
        ),
        (
            spread(
                "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints[0].labelSelector",
            "constraint must not define a selector",
        ),
        (
            spread(
                "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints[1]",
            "Duplicate value: \"{z, DoNotSchedule}\"",
        ),
        (
            args("VolumeBinding", "bindTimeoutSeconds: -1"),
            "profiles[0].pluginConfig[0].args.bindTimeoutSeconds",
            "should not be a negative value",
        ),
        (
            added("matchExpressions: [{key: a, operator: In}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]",
            "for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            added("matchFields: [{key: metadata.uid, operator: In, values: [a]}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key",
            "not modelled: the field `metadata.uid` of nodes",
        ),
        (
            added("matchFields: [{key: metadata.name, operator: In, values: [a, b]}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values",
            "Invalid value: [\"a\",\"b\"]: must have one element",
        ),
        (
            added("matchFields: [{key: metadata.name, operator: Exists}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator",
            "Unsupported value: \"Exists\": supported values: \"In\", \"NotIn\"",
        ),
        (
            added("matchExpressions: [{key: 'a b', operator: Exists}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key",
            "Invalid value: \"a b\": name part must consist of",
        ),
        (
            added("matchExpressions: [{key: a, operator: In, values: ['x y']}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]",
            "Invalid value: \"x y\": a valid label must be an empty string or consist of",
        ),
        (
            added("matchExpressions: [{key: a, operator: Gt, values: [x]}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]",
            "the value must be an integer",
        ),
        (
            added("matchExpressions: [{key: a, operator: Gt, values: ['1', '2']}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values",
            "exactly one value is required",
        ),
        (
            added("matchExpressions: [{key: a, operator: Lt, values: ['-5']}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]",
            "Invalid value: \"-5\": a valid label",
        ),
        (
            args(
                "NodeAffinity",
                "addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}",
            ),
            "profiles[0].pluginConfig[0].args.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
            "not modelled: a weight outside of 1 to 100",
        ),
        (
            added("matchExpressions: [{key: a, operator: Equals, values: [b]}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator",
            "got `Equals`",
        ),
        ("parallelism: 4\nparallelism: 5\n".into(), "parallelism", "duplicate key `parallelism`"),
    ];
    let mut wrong = Vec::new();
    for (body, path, words) in &cases {
        let Err(errors) = parse(body) else {
            wrong.push(format!("{body}is accepted"));
            continue;
        };
        let shown = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let told = errors.iter().any(|e| e.path.starts_with(path) && e.message.contains(words));
        if !told || errors.iter().any(|e| e.line < 3) {
            wrong.push(format!("{body}wants {path}: {words}\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_error_is_told_at_once_with_its_line() {
    let errors = parse("parallelism: 0\npercentageOfNodesToScore: 101\nextenders: [{}]\n").unwrap_err();
    let lines: Vec<usize> = errors.iter().map(|e| e.line).collect();
    assert_eq!(lines, [3, 4, 5]);
}

#[test]
fn other_kinds_of_file_are_told_apart() {
    let read_text = |text: &str| ConfigFile::parse("c.yaml", text).and_then(|file| read(&file));
    let old =
        read_text("apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\n");
    assert!(old.unwrap_err()[0].to_string().contains("read v1 only"));
    let pod = read_text("apiVersion: v1\nkind: Pod\n").unwrap_err();
    assert!(pod[1].message.contains("expected `KubeSchedulerConfiguration`, got `Pod`"));
    assert!(read_text("partitions: []\n").unwrap_err()[0].message.contains("required"));
    assert!(read_text("").unwrap_err()[0].message.contains("empty"));
}
