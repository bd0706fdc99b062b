//! Rules of YuniKorn, restated from yunikorn-core 1.8: each case names the file and the test (or the function) that it
//! comes from. Wrong configurations must be refused at the right line with what YuniKorn says; right ones must decide
//! as it does.
use std::fmt::Write as _;

use podpace::cluster::{App, Cluster, PodId, PodSpec};
use podpace::cost::ProfileLibrary;
use podpace::engine::SECOND;
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::scenario::{Document, resolve};
use podpace::scheduler::yunikorn::{Core, Version, Work};
use podpace::scheduler::{NodeSortPolicy, Registry};
use proptest::prelude::*;

use crate::harness::{
    GIBI, Harness, MEBI, SCENARIO, Shop, below_root, cluster as nodes, open, partition, plain, read,
    resources, settings, shown,
};

struct Wrong {
    source: &'static str,
    config: String,
    line: usize,
    field: &'static str,
    says: &'static str,
}

fn wrong(
    source: &'static str,
    config: String,
    line: usize,
    field: &'static str,
    says: &'static str,
) -> Wrong {
    Wrong { source, config, line, field, says }
}

fn check_wrong(cases: Vec<Wrong>) {
    let mut failures = String::new();
    for case in cases {
        match read(&case.config) {
            Ok(_) => writeln!(failures, "{}: accepted\n{}", case.source, case.config).unwrap(),
            Err(errors) => {
                let found = errors.iter().any(|e| {
                    e.line == case.line
                        && e.path.ends_with(case.field)
                        && e.file.ends_with("queues.yaml")
                        && e.hint.as_deref().is_some_and(|h| h.contains(case.says))
                });
                if !found {
                    let Wrong { source, line, field, says, .. } = case;
                    writeln!(failures, "{source}: line {line}, {field}, `{says}`, but:\n{}", shown(&errors))
                        .unwrap();
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// What Go's strict YAML decoder refuses.
#[test]
fn files_out_of_form_are_refused() {
    check_wrong(vec![
        wrong(
            "config_test.go TestParseQueueFail",
            partition("  queues:\n  - name: root\n    rights: high"),
            5,
            "rights",
            "field rights not found in type configs.QueueConfig",
        ),
        wrong(
            "config.go PartitionConfig",
            partition("  placementRules: []"),
            3,
            "placementRules",
            "field placementRules not found in type configs.PartitionConfig",
        ),
        wrong(
            "config.go SchedulerConfig",
            "partition: []\n".into(),
            1,
            "partition",
            "field partition not found in type configs.SchedulerConfig",
        ),
        wrong(
            "config.go QueueConfig",
            below_root("    - name: a\n      maxApplications: 3"),
            7,
            "maxApplications",
            "field maxApplications not found",
        ),
        wrong(
            "config.go QueueConfig",
            below_root("    - name: a\n      maxapplications: many"),
            7,
            "maxapplications",
            "cannot unmarshal !!str `many` into uint64",
        ),
        wrong(
            "config.go QueueConfig",
            below_root("    - name: a\n      maxapplications: -1"),
            7,
            "maxapplications",
            "cannot unmarshal !!int `-1` into uint64",
        ),
        wrong(
            "config.go QueueConfig",
            below_root("    - name: a\n      parent: maybe"),
            7,
            "parent",
            "cannot unmarshal !!str `maybe` into bool",
        ),
        wrong(
            "config.go QueueConfig",
            below_root("    - name: a\n      queues: b"),
            7,
            "queues",
            "cannot unmarshal !!str `b` into []configs.QueueConfig",
        ),
        wrong(
            "config.go Resources",
            below_root("    - name: a\n      resources: {min: {memory: 1}}"),
            7,
            "min",
            "field min not found in type configs.Resources",
        ),
        wrong(
            "config.go Limit",
            below_root("    - name: a\n      limits:\n      - users: bob\n        maxapplications: 1"),
            8,
            "users",
            "cannot unmarshal !!str `bob` into []string",
        ),
        wrong(
            "config.go Limit",
            below_root("    - name: a\n      limits:\n      - user: [bob]"),
            8,
            "user",
            "field user not found in type configs.Limit",
        ),
        wrong(
            "config.go PlacementRule",
            partition("  placementrules:\n  - name: tag\n    tag: namespace\n  queues: []"),
            5,
            "tag",
            "field tag not found in type configs.PlacementRule",
        ),
        wrong(
            "config.go Filter",
            partition("  placementrules:\n  - name: user\n    filter: {kind: allow}\n  queues: []"),
            5,
            "kind",
            "field kind not found in type configs.Filter",
        ),
        wrong(
            "config.go NodeSortingPolicy",
            partition("  nodesortpolicy: {weights: {}}\n  queues: []"),
            3,
            "weights",
            "field weights not found in type configs.NodeSortingPolicy",
        ),
        wrong(
            "config.go NodeSortingPolicy",
            partition("  nodesortpolicy: {resourceweights: {vcore: much}}\n  queues: []"),
            3,
            "vcore",
            "cannot unmarshal !!str `much` into float64",
        ),
        wrong(
            "config_test.go TestPartitionPreemptionParameter",
            partition("  preemption: {enabled: perhaps}\n  queues: []"),
            3,
            "enabled",
            "into bool",
        ),
        wrong(
            "config.go ChildTemplate",
            below_root("    - name: a\n      childtemplate: {limits: []}"),
            7,
            "limits",
            "field limits not found in type configs.ChildTemplate",
        ),
    ]);
}

/// `quantity_test.go`, TestParseQuantity and TestParseVCore: amounts that are none.
#[test]
fn amounts_out_of_form_are_refused() {
    let amount = |resource: &str, value: &str| {
        below_root(&format!("    - name: a\n      resources: {{max: {{{resource}: '{value}'}}}}"))
    };
    let cases = [
        ("memory", "9223372036854775808", "invalid quantity: overflow"),
        ("memory", "1000E", "invalid quantity: overflow"),
        ("memory", "5X", "invalid quantity"),
        ("memory", "500m", "invalid suffix"),
        ("memory", "-1", "invalid quantity"),
        ("memory", "1.5G", "invalid quantity"),
        ("memory", "2K", "invalid suffix"),
        ("memory", "", "invalid quantity"),
        ("vcore", "9223372036854776", "invalid quantity: overflow"),
        ("vcore", "1000P", "invalid quantity: overflow"),
        ("vcore", "7E", "invalid quantity: overflow"),
        ("vcore", "7Ei", "invalid quantity: overflow"),
        ("vcore", "0.5", "invalid quantity"),
    ];
    check_wrong(
        cases
            .into_iter()
            .map(|(resource, value, says)| {
                wrong("quantity_test.go", amount(resource, value), 7, resource, says)
            })
            .collect(),
    );
}

/// `quantity_test.go`: amounts with suffixes; `vcore` counts thousandths.
#[test]
fn amounts_are_read_with_their_suffixes() {
    let of = |text: &str| {
        let config = below_root(&format!("    - name: a\n      resources: {{max: {text}}}"));
        settings(&config).yunikorn.unwrap().root.queues[0].max.clone()
    };
    for (text, bytes) in [
        ("1", 1),
        ("' 25k '", 25_000),
        ("' 25  k '", 25_000),
        ("9223372036854775807", i64::MAX as u64),
        ("2k", 2000),
        ("3M", 3_000_000),
        ("7E", 7_000_000_000_000_000_000),
        ("2Ki", 2048),
        ("4Gi", 4 << 30),
        ("7Ei", 7 << 60),
    ] {
        assert_eq!(of(&format!("{{memory: {text}}}")).memory_bytes, Some(bytes), "{text}");
    }
    for (text, millicores) in [("1", 1000), ("500m", 500), ("' 25k '", 25_000_000), ("2Ki", 2_048_000)] {
        assert_eq!(of(&format!("{{vcore: {text}}}")).cpu_millicores, Some(millicores), "{text}");
    }
    // `Queue.setResources`: what is nowhere above zero is not set.
    assert!(of("{memory: 0, vcore: 0}").is_empty());
}

/// `configvalidator.go`: queues, resources, applications.
#[test]
fn queues_that_contradict_themselves_are_refused() {
    check_wrong(vec![
        wrong(
            "configvalidator_test.go TestCheckQueuesStructure",
            partition("  limits: []"),
            2,
            "partitions[0]",
            "queue config is not set",
        ),
        wrong(
            "config_test.go TestParsePartitionFail",
            "partitions:\n- name: default\n  queues: []\n- name: Default\n  queues: []\n".into(),
            4,
            "name",
            "duplicate partition name found with name default",
        ),
        wrong(
            "configvalidator_test.go TestCheckQueuesStructure",
            partition("  queues:\n  - name: root\n    resources: {max: {memory: 1}}"),
            5,
            "resources",
            "root queue must not have resource limits set",
        ),
        wrong(
            "configvalidator_test.go TestCheckQueuesStructure",
            partition("  queues:\n  - name: root\n    resources: {guaranteed: {memory: 1}}"),
            5,
            "resources",
            "root queue must not have resource limits set",
        ),
        wrong(
            "configvalidator_test.go TestCheckQueues",
            below_root("    - name: a\n    - name: A"),
            7,
            "name",
            "duplicate child name found with name 'A', level 1",
        ),
        wrong(
            "configvalidator_test.go TestCheckQueues",
            below_root("    - name: a\n      queues:\n      - name: b\n      - name: b"),
            9,
            "name",
            "duplicate child name found with name 'b', level 2",
        ),
        wrong(
            "configvalidator_test.go TestIsQueueNameValid",
            below_root("    - name: invalid!queue"),
            6,
            "name",
            "invalid queue name, max 64 characters",
        ),
        wrong(
            "configvalidator_test.go TestIsQueueNameValid",
            below_root(&format!("    - name: {}", "a".repeat(65))),
            6,
            "name",
            "invalid queue name",
        ),
        wrong(
            "configvalidator_test.go TestIsQueueNameValid",
            below_root("    - name: 'a.b'"),
            6,
            "name",
            "invalid queue name",
        ),
        wrong(
            "configvalidator_test.go TestIsQueueNameValid",
            below_root("    - name: ''"),
            6,
            "name",
            "invalid queue name",
        ),
        wrong(
            "config_test.go TestParseACLFail",
            below_root("    - name: a\n      submitacl: user group extra"),
            7,
            "submitacl",
            "multiple spaces found in ACL: 'user group extra'",
        ),
        wrong(
            "config_test.go TestParseACLFail",
            below_root("    - name: a\n      adminacl: user  group"),
            7,
            "adminacl",
            "multiple spaces found in ACL",
        ),
        wrong(
            "configvalidator_test.go TestCheckResourceConfigurationsForQueue",
            below_root(
                "    - name: a\n      resources:\n        guaranteed: {memory: 200}\n        max: {memory: 100}",
            ),
            8,
            "guaranteed",
            "guaranteed resource map[memory:200] is larger than maximum resource map[memory:100] for queue a",
        ),
        wrong(
            "configvalidator_test.go TestCheckResourceConfigurationsForQueue",
            below_root(
                "    - name: a\n      resources: {max: {memory: 100}}\n      queues:\n      - name: b\n        resources:\n          max: {memory: 200}",
            ),
            11,
            "max",
            "max resource of parent map[memory:100] is smaller than maximum resource map[memory:200] for queue b",
        ),
        wrong(
            "configvalidator_test.go TestCheckResourceConfigurationsForQueue",
            below_root(
                "    - name: a\n      resources: {max: {memory: 100}}\n      queues:\n      - name: b\n        queues:\n        - name: c\n          resources: {max: {memory: 200}}",
            ),
            12,
            "max",
            "for queue c",
        ),
        wrong(
            "configvalidator_test.go TestCheckResourceConfigurationsForQueue",
            below_root(
                "    - name: a\n      resources: {guaranteed: {memory: 100}}\n      queues:\n      - {name: b, resources: {guaranteed: {memory: 60}}}\n      - {name: c, resources: {guaranteed: {memory: 60}}}",
            ),
            7,
            "guaranteed",
            "is smaller than sum of guaranteed resources map[memory:120] of the children for queue a",
        ),
        wrong(
            "configvalidator_test.go TestCheckResourceConfigurationsForQueue",
            below_root(
                "    - name: a\n      resources: {max: {memory: 100}}\n      queues:\n      - {name: b, resources: {guaranteed: {memory: 60}}}\n      - {name: c, resources: {guaranteed: {memory: 60}}}",
            ),
            7,
            "max",
            "max resource map[memory:100] is smaller than sum of guaranteed resources map[memory:120]",
        ),
        wrong(
            "configvalidator_test.go TestCheckQueueMaxApplicationsForQueue",
            below_root(
                "    - name: a\n      maxapplications: 1\n      queues:\n      - name: b\n        maxapplications: 2",
            ),
            10,
            "maxapplications",
            "parent maxApplications must be larger than child maxApplications",
        ),
        wrong(
            "configvalidator_test.go TestCheckQueueMaxApplicationsForQueue",
            below_root("    - name: a\n      maxapplications: 4\n      queues:\n      - name: b"),
            9,
            "maxapplications",
            "maxApplications is either undefined or zero",
        ),
        wrong(
            "configvalidator_test.go TestCheckNodeSortingPolicy",
            partition("  nodesortpolicy:\n    type: bin-packing\n  queues: []"),
            4,
            "type",
            "undefined policy: bin-packing",
        ),
        wrong(
            "configvalidator_test.go TestCheckNodeSortingPolicy",
            partition("  nodesortpolicy: {type: Fair}\n  queues: []"),
            3,
            "type",
            "undefined policy: Fair",
        ),
        wrong(
            "configvalidator_test.go TestCheckNodeSortingPolicy",
            partition("  nodesortpolicy: {resourceweights: {memory: -1.0}}\n  queues: []"),
            3,
            "memory",
            "negative resource weight for memory is not allowed",
        ),
    ]);
}

/// `configvalidator.go`: limits of users and groups.
#[test]
fn limits_that_contradict_themselves_are_refused() {
    let limit = |rest: &str| {
        below_root(&format!(
            "    - name: parent\n      resources: {{max: {{memory: 100}}}}\n      maxapplications: 100\n      limits:\n      - limit: l\n{rest}"
        ))
    };
    let nested = |above: &str, below: &str| {
        below_root(&format!(
            "    - name: parent\n      limits:\n      - {{{above}}}\n      queues:\n      - name: child\n        limits:\n        - {{{below}}}"
        ))
    };
    check_wrong(vec![
        wrong(
            "config_test.go TestLimitsFail",
            limit("        maxapplications: 1"),
            10,
            "limits[0]",
            "empty user and group lists defined in limit '{l [] [] map[] 1}'",
        ),
        wrong(
            "configvalidator_test.go TestUserName",
            limit("        users: ['1bob']\n        maxapplications: 1"),
            11,
            "users[0]",
            "invalid limit user name '1bob' in limit definition",
        ),
        wrong(
            "configvalidator_test.go TestUserName",
            limit("        users: ['b ob']\n        maxapplications: 1"),
            11,
            "users[0]",
            "invalid limit user name 'b ob'",
        ),
        wrong(
            "configvalidator_test.go TestGroupName",
            limit("        groups: ['my@group']\n        maxapplications: 1"),
            11,
            "groups[0]",
            "invalid limit group name 'my@group'",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits",
            limit("        users: [bob, bob]\n        maxapplications: 1"),
            11,
            "users[1]",
            "duplicated user name 'bob', already exists",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits",
            limit("        groups: [g, g]\n        maxapplications: 1"),
            11,
            "groups[1]",
            "duplicated group name 'g'",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits",
            limit("        users: ['*', bob]\n        maxapplications: 1"),
            11,
            "users[1]",
            "should not set no wildcard user bob after wildcard user limit",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits",
            limit("        groups: [a, '*', g]\n        maxapplications: 1"),
            11,
            "groups[2]",
            "should not set no wildcard group g after wildcard group limit",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits",
            limit("        groups: ['*']\n        maxapplications: 1"),
            11,
            "groups",
            "should not specify only one group limit that is using the wildcard",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits (all fields in maxresources are 0)",
            limit("        users: [bob]\n        maxresources: {memory: 0, cpu: 0}"),
            12,
            "maxresources",
            "MaxResources should be greater than zero in 'l' limit",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits (both are 0)",
            limit("        users: [bob]"),
            10,
            "limits[0]",
            "invalid resource combination for limit l all resource limits are null",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits (user maxresources exceed queue limits)",
            limit("        users: [bob]\n        maxresources: {memory: 200}"),
            12,
            "maxresources",
            "invalid MaxResources settings for limit l",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits (group maxresources exceed queue limits)",
            limit("        groups: [g]\n        maxresources: {memory: 200}"),
            12,
            "maxresources",
            "invalid MaxResources settings for limit l",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimits (user maxapplications exceed queue limits)",
            limit("        users: [bob]\n        maxapplications: 200"),
            12,
            "maxapplications",
            "invalid MaxApplications settings for limit l",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitResource",
            nested("users: [bob], maxresources: {memory: 10}", "users: [bob], maxresources: {memory: 20}"),
            12,
            "maxresources",
            "user bob max resource map[memory:20] of queue child is greater than immediate or ancestor parent maximum resource map[memory:10]",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitResource",
            nested("users: ['*'], maxresources: {memory: 10}", "users: [bob], maxresources: {memory: 20}"),
            12,
            "maxresources",
            "is greater than wildcard maximum resource map[memory:10] of immediate or ancestor parent queue",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitResource",
            nested("groups: [g], maxresources: {memory: 10}", "groups: [g], maxresources: {memory: 20}"),
            12,
            "maxresources",
            "group g max resource",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitMaxApplications",
            nested("users: [bob], maxapplications: 1", "users: [bob], maxapplications: 2"),
            12,
            "maxapplications",
            "user bob max applications 2 of queue child is greater than immediate or ancestor parent max applications 1",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitMaxApplications",
            nested("users: ['*'], maxapplications: 1", "users: [bob], maxapplications: 2"),
            12,
            "maxapplications",
            "is greater than wildcard max applications 1 of immediate or ancestor parent queue",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitMaxApplications",
            nested("groups: [g], maxapplications: 5", "groups: [g], maxresources: {memory: 1}"),
            12,
            "maxapplications",
            "group g max applications 0 of queue child",
        ),
        wrong(
            "configvalidator_test.go TestCheckLimitsStructure",
            partition(
                "  limits:\n  - {users: [a], maxapplications: 1}\n  queues:\n  - name: root\n    limits:\n    - {users: [b], maxapplications: 1}",
            ),
            4,
            "limits",
            "partition limits and root queue limits are not equivalent",
        ),
    ]);
}

/// `configvalidator.go`, checkPlacementRules, and what the rules refuse themselves.
#[test]
fn placement_rules_that_lead_nowhere_are_refused() {
    let rules = |rules: &str| {
        partition(&format!(
            "  placementrules:\n{rules}\n  queues:\n  - name: root\n    queues:\n    - name: leaf\n    - name: parent\n      parent: true"
        ))
    };
    check_wrong(vec![
        wrong(
            "configvalidator_test.go TestCheckPlacementRule",
            rules("  - name: 1user"),
            4,
            "name",
            "invalid rule name 1user, a name must be a valid identifier",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRule",
            rules("  - name: user\n    parent:\n      name: fix-ed"),
            6,
            "name",
            "invalid rule name fix-ed",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRule",
            rules("  - name: user\n    filter:\n      type: unknown"),
            6,
            "type",
            "invalid rule filter type unknown",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRule",
            rules("  - name: user\n    filter:\n      users: ['99unknown']"),
            6,
            "users",
            "invalid rule filter user list is not a proper list or regexp: [99unknown]",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRule",
            rules("  - name: user\n    filter:\n      groups: ['[a-z']"),
            6,
            "groups",
            "invalid rule filter group list is not a proper list or regexp",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRules",
            rules("  - name: fixed\n    value: root.nowhere"),
            4,
            "placementrules[0]",
            "placement rule no. #0 (fixed) references non-existing queues (root.nowhere) and create is 'false'",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRules",
            rules("  - name: fixed\n    value: root.parent"),
            4,
            "placementrules[0]",
            "(fixed) references a queue (root.parent) which is not a leaf",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRules",
            rules("  - name: user\n    create: true\n    parent:\n      name: fixed\n      value: root.leaf"),
            4,
            "placementrules[0]",
            "(fixed->user) references a queue (root.leaf) which is not a leaf",
        ),
        wrong(
            "configvalidator.go checkQueueHierarchyForPlacement: queues below are not enough",
            partition(
                "  placementrules:\n  - {name: user, parent: {name: fixed, value: root.a}}\n  queues:\n  - name: root\n    queues:\n    - name: a\n      queues: [{name: b}]",
            ),
            4,
            "placementrules[0]",
            "references a queue (root.a) which is not a leaf",
        ),
        wrong(
            "configvalidator_test.go TestCheckPlacementRules",
            rules("  - name: fixed\n    value: leaf.below\n    create: true"),
            4,
            "placementrules[0]",
            "cannot be created because the last queue (leaf) in the hierarchy is a leaf",
        ),
        wrong(
            "configvalidator_test.go TestGetLongestPlacementPath",
            rules(
                "  - name: fixed\n    value: root.a\n    parent:\n      name: fixed\n      value: root.parent",
            ),
            5,
            "value",
            "illegal fully qualified 'fixed' rule with value root.a",
        ),
        wrong(
            "rule.go newRule",
            rules("  - name: nobody"),
            4,
            "name",
            "unknown rule name specified nobody, failing placement rule config",
        ),
        wrong(
            "rule.go newRule",
            rules("  - name: recovery"),
            4,
            "name",
            "recovery rule cannot be part of the config",
        ),
        wrong(
            "tag_rule_test.go TestTagRule",
            rules("  - name: tag"),
            4,
            "value",
            "a tag queue rule must have a tag name set",
        ),
    ]);
}

/// What YuniKorn takes and the model can't do is an error of its own; several at once are all told.
#[test]
fn what_is_not_modelled_is_an_error() {
    check_wrong(vec![wrong(
        "partitions by node attribute",
        "partitions:\n- name: gpu\n  queues: []\n".into(),
        2,
        "name",
        "shim",
    )]);
    let two = below_root("    - name: a!\n    - name: b\n      maxapplications: x");
    assert_eq!(read(&two).unwrap_err().len(), 1, "a file out of form is told before its contradictions");
    let two = below_root("    - name: a!\n    - name: b!");
    assert_eq!(read(&two).unwrap_err().len(), 2);
}

/// A ConfigMap: places are those of the file; its own keys count, and are checked as the shim does.
#[test]
fn the_config_map_is_read_as_it_is() {
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yunikorn-configs\ndata:\n{data}")
    };
    let queues = "  queues.yaml: |\n    partitions:\n    - name: default\n      queues:\n      - name: root\n        submitacl: '*'\n";
    let read_map = |data: &str| read(&map(&format!("{data}{queues}")));
    let (s, notes) = read_map(
        "  service.schedulingInterval: 250ms\n  service.disableGangScheduling: 'true'\n  kubernetes.qps: '50'\n  log.level: DEBUG\n  service.enableConfigHotRefresh: 'false'\n  admissionController.filtering.bypassNamespaces: ^kube-system$\n",
    )
    .unwrap();
    assert_eq!(s.scheduling_interval_ns, 250_000_000);
    assert!(s.yunikorn.unwrap().disable_gang_scheduling);
    assert!(notes.is_empty(), "{notes:?}");
    let (_, notes) = read_map("  service.schedulingIntervall: 1s\n").unwrap();
    assert!(notes[0].contains("does not know this key"), "{notes:?}");

    check_wrong(vec![
        wrong(
            "schedulerconf.go durationVar",
            map(&format!("  service.schedulingInterval: fast\n{queues}")),
            6,
            "data[\"service.schedulingInterval\"]",
            "time: invalid duration \"fast\"",
        ),
        wrong(
            "schedulerconf.go intVar",
            map(&format!("  kubernetes.qps: many\n{queues}")),
            6,
            "data[\"kubernetes.qps\"]",
            "strconv.ParseInt: parsing \"many\"",
        ),
        wrong(
            "schedulerconf.go boolVar",
            map(&format!("  service.disableGangScheduling: 'yes'\n{queues}")),
            6,
            "data[\"service.disableGangScheduling\"]",
            "strconv.ParseBool",
        ),
        wrong(
            "an error inside has the line of the file",
            map(&format!("{queues}        maxapps: 3\n")),
            12,
            "maxapps",
            "field maxapps not found",
        ),
    ]);
}

/// Without queues the shim hands over an empty text, and the core takes `DefaultSchedulerConfig`: a queue for each namespace.
/// `service.policyGroup` names the key.
#[test]
fn a_config_map_without_queues_means_the_default() {
    let queues =
        "  queues.yaml: |\n    partitions:\n    - name: default\n      queues:\n      - name: root\n";
    for (data, key) in [
        ("  log.level: INFO\n".to_owned(), "queues.yaml"),
        ("  queues.yaml: \"\"\n".to_owned(), "queues.yaml"),
        (format!("  service.policyGroup: blue\n{queues}"), "blue.yaml"),
    ] {
        let map =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: yunikorn-configs}}\ndata:\n{data}");
        let (settings, notes) = read(&map).unwrap();
        assert!(notes[0].contains(key) && notes[0].contains("YuniKorn's default"), "{notes:?}");
        let config = settings.yunikorn.unwrap();
        assert_eq!(config.rules.len(), 1, "by namespace");
    }
}

/// What YuniKorn takes and corrects is told in a note.
#[test]
fn what_yunikorn_corrects_is_a_note() {
    for (property, value, note) in [
        ("application.sort.policy", "stateaware", "takes fifo instead"),
        ("application.sort.policy", "lifo", "takes the default"),
        ("application.sort.priority", "yes", "takes the default"),
        ("priority.offset", "high", "takes the default"),
        ("priority.policy", "wall", "takes the default"),
        ("preemption.quota.delay", "-1s", "takes the default"),
        ("quota.preemption.delay", "soon", "takes the default"),
        ("preemption.quota.delay", "5m", "changes nothing"),
        ("quota.preemption.delay", "5m", "changes nothing"),
        ("preemption.delay", "0s", "takes the default"),
        ("preemption.delay", "half a minute", "takes the default"),
        ("preemption.policy", "moat", "takes the default"),
        ("application.unschedasks.backoff", "-3", "takes the default"),
        ("application.unschedasks.backoff.delay", "-3s", "takes the default"),
        ("application.sort.polici", "fair", "perhaps `application.sort.policy`"),
    ] {
        let config = open(&format!("    - name: a\n      properties: {{{property}: {value}}}"));
        let (settings, notes) = read(&config).unwrap();
        assert!(notes.iter().any(|n| n.contains(note) && n.contains(property)), "{property}: {notes:?}");
        assert!(settings.yunikorn.is_some());
    }
    for (flag, noted) in [("true", 1), ("false", 0)] {
        let text = partition(&format!(
            "  preemption: {{quotapreemptionenabled: {flag}}}\n  queues:\n  - name: root\n    queues:\n    - name: a\n"
        ));
        let (_, notes) = read(&text).unwrap();
        let is_noted = |note: &&String| note.contains("quotapreemptionenabled: changes nothing");
        assert_eq!(notes.iter().filter(is_noted).count(), noted, "{notes:?}");
    }
    let (_, notes) = read(&open("    - name: a\n      resources: {max: {cpu: 1}}")).unwrap();
    assert!(notes.iter().any(|n| n.contains("`vcore`")), "{notes:?}");
}

// ---- placement ----

struct Who {
    user: &'static str,
    groups: &'static [&'static str],
    namespace: &'static str,
    queue: &'static str,
}

const fn who(user: &'static str, queue: &'static str) -> Who {
    Who { user, groups: &[], namespace: "", queue }
}

const fn from(namespace: &'static str) -> Who {
    Who { user: "testuser", groups: &[], namespace, queue: "" }
}

/// The queues in which applications come to be, one after the other.
fn place(config: &str, apps: &[Who]) -> Vec<Result<String, String>> {
    let settings = settings(config);
    let mut core = Core::new(&settings, Version::default());
    let mut cluster = Cluster::default();
    apps.iter()
        .map(|who| {
            let app = cluster.pods.add_app(App {
                name: "app".into(),
                queue: who.queue.into(),
                user: who.user.into(),
                groups: who.groups.iter().map(|g| (*g).to_owned()).collect(),
                namespace: who.namespace.into(),
                ..App::default()
            });
            core.add_app(&cluster, app).map(|()| core.queue_of(app).unwrap().to_owned())
        })
        .collect()
}

fn with_rules(rules: &str, queues: &str) -> String {
    partition(&format!(
        "  placementrules:\n{rules}\n  queues:\n  - name: root\n    submitacl: '*'\n    queues:\n{queues}"
    ))
}

const TEST_QUEUES: &str = "    - name: testqueue\n    - name: testparent\n      parent: true\n      queues:\n      - name: testchild";

#[test]
fn rules_place_applications() {
    let rejected = "application rejected: no placement rule matched";
    let cases: Vec<(&str, String, Who, Result<&str, &str>)> = vec![
        (
            "fixed_rule_test.go TestFixedRulePlace",
            with_rules("  - {name: fixed, value: testqueue}", TEST_QUEUES),
            who("u", ""),
            Ok("root.testqueue"),
        ),
        (
            "fixed_rule_test.go TestFixedRulePlace",
            with_rules("  - {name: fixed, value: root.testparent.testchild}", TEST_QUEUES),
            who("u", ""),
            Ok("root.testparent.testchild"),
        ),
        (
            "fixed_rule_test.go TestFixedRulePlace",
            with_rules("  - {name: fixed, value: new, create: true}", TEST_QUEUES),
            who("u", ""),
            Ok("root.new"),
        ),
        (
            "fixed_rule_test.go TestFixedRuleParent",
            with_rules(
                "  - {name: fixed, value: testchild, parent: {name: fixed, value: testparent}}",
                TEST_QUEUES,
            ),
            who("u", ""),
            Ok("root.testparent.testchild"),
        ),
        (
            "fixed_rule_test.go TestFixedRulePlace (deny filter)",
            with_rules("  - {name: fixed, value: testqueue, filter: {type: deny}}", TEST_QUEUES),
            who("u", ""),
            Err(rejected),
        ),
        (
            "user_rule_test.go TestUserRulePlace",
            with_rules("  - {name: user}", TEST_QUEUES),
            who("testqueue", ""),
            Ok("root.testqueue"),
        ),
        (
            "user_rule_test.go TestUserRulePlace",
            with_rules("  - {name: user}", TEST_QUEUES),
            who("unknown", ""),
            Err(rejected),
        ),
        (
            "user_rule_test.go TestUserRulePlace (dots)",
            with_rules("  - {name: user, create: true}", TEST_QUEUES),
            who("test.user", ""),
            Ok("root.test_dot_user"),
        ),
        (
            "user_rule_test.go TestUserRulePlace",
            with_rules("  - {name: user, create: true}", TEST_QUEUES),
            who("invalid!us.er", ""),
            Err("no queue name"),
        ),
        (
            "user_rule_test.go TestUserRuleParent",
            with_rules(
                "  - {name: user, create: true, parent: {name: fixed, value: testparent}}",
                TEST_QUEUES,
            ),
            who("bob", ""),
            Ok("root.testparent.bob"),
        ),
        (
            "user_rule_test.go TestUserRuleParent (parent not created)",
            with_rules("  - {name: user, create: true, parent: {name: provided}}", TEST_QUEUES),
            who("bob", "nowhere"),
            Err(rejected),
        ),
        (
            "user_rule_test.go TestUserRuleParent (leaf as parent)",
            with_rules("  - {name: user, create: true, parent: {name: provided}}", TEST_QUEUES),
            who("bob", "testqueue"),
            Err("parent rule returned a leaf queue: root.testqueue"),
        ),
        (
            "without a user it is nobody",
            with_rules("  - {name: user, create: true}", TEST_QUEUES),
            who("", ""),
            Ok("root.nobody"),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace",
            with_rules("  - {name: provided}", TEST_QUEUES),
            who("u", "testqueue"),
            Ok("root.testqueue"),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace",
            with_rules("  - {name: provided}", TEST_QUEUES),
            who("u", "root.testparent.testchild"),
            Ok("root.testparent.testchild"),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace",
            with_rules("  - {name: provided}", TEST_QUEUES),
            who("u", "unknown"),
            Err(rejected),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace",
            with_rules("  - {name: provided, create: true}", TEST_QUEUES),
            who("u", "a.b"),
            Ok("root.a_dot_b"),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace",
            with_rules("  - {name: provided, create: true}", TEST_QUEUES),
            who("u", "root.a.b"),
            Ok("root.a.b"),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace",
            with_rules("  - {name: provided, create: true}", TEST_QUEUES),
            who("u", "in valid"),
            Err("no queue name"),
        ),
        (
            "provided_rule_test.go TestProvidedRulePlace (no queue)",
            with_rules("  - {name: provided, create: true}", TEST_QUEUES),
            who("u", ""),
            Err(rejected),
        ),
        (
            "placement.go: a parent queue takes no application",
            with_rules("  - {name: provided}", TEST_QUEUES),
            who("u", "root.testparent"),
            Err(rejected),
        ),
        (
            "partition.go createQueue: below a leaf",
            with_rules("  - {name: provided, create: true}", TEST_QUEUES),
            who("u", "root.testqueue.x"),
            Err("parent is already a leaf"),
        ),
        (
            "tag_rule_test.go TestTagRulePlace",
            with_rules("  - {name: tag, value: namespace}", TEST_QUEUES),
            from("testqueue"),
            Ok("root.testqueue"),
        ),
        (
            "tag_rule_test.go TestTagRulePlace",
            with_rules("  - {name: tag, value: namespace}", TEST_QUEUES),
            from("unknown"),
            Err(rejected),
        ),
        (
            "tag_rule_test.go TestTagRulePlace",
            with_rules("  - {name: tag, value: namespace}", TEST_QUEUES),
            from("test!queue"),
            Err("no queue name"),
        ),
        (
            "tag_rule_test.go TestTagRulePlace",
            with_rules("  - {name: tag, value: NameSpace, create: true}", TEST_QUEUES),
            from("Prod"),
            Ok("root.prod"),
        ),
        (
            "tag_rule_test.go TestTagRuleParent",
            with_rules(
                "  - {name: tag, value: namespace, create: true, parent: {name: user, create: true}}",
                TEST_QUEUES,
            ),
            from("ns"),
            Ok("root.testuser.ns"),
        ),
        (
            "tag_rule_test.go TestTagRulePlace (no such tag)",
            with_rules("  - {name: tag, value: label1, create: true}", TEST_QUEUES),
            from("ns"),
            Err(rejected),
        ),
        (
            "placement_test.go TestManagerInit: no rules are one rule provided",
            open(TEST_QUEUES),
            who("u", "testqueue"),
            Ok("root.testqueue"),
        ),
        (
            "placement.go: the default queue",
            open("    - name: default"),
            who("u", "nowhere"),
            Ok("root.default"),
        ),
        ("placement.go: no default queue", open(TEST_QUEUES), who("u", "nowhere"), Err(rejected)),
        (
            "queue.go CheckSubmitAccess: nobody may submit",
            below_root(TEST_QUEUES),
            who("u", "testqueue"),
            Err(rejected),
        ),
        (
            "queue.go CheckSubmitAccess: a list",
            below_root("    - name: a\n      submitacl: bob,eve dev"),
            who("eve", "a"),
            Ok("root.a"),
        ),
        (
            "queue.go CheckSubmitAccess: a group",
            below_root("    - name: a\n      submitacl: bob dev"),
            Who { user: "eve", groups: &["dev"], namespace: "", queue: "a" },
            Ok("root.a"),
        ),
        (
            "queue.go CheckSubmitAccess: an administrator of the queue above",
            below_root("    - name: a\n      adminacl: eve\n      queues:\n      - name: b"),
            who("eve", "root.a.b"),
            Ok("root.a.b"),
        ),
        (
            "queue names are in lower case",
            open("    - name: MiXed"),
            who("u", "root.mixeD"),
            Ok("root.mixed"),
        ),
        (
            "filter_test.go TestFilterUser (list)",
            with_rules("  - {name: provided, filter: {users: [bob, eve]}}", TEST_QUEUES),
            who("eve", "testqueue"),
            Ok("root.testqueue"),
        ),
        (
            "filter_test.go TestFilterUser (deny)",
            with_rules("  - {name: provided, filter: {type: deny, users: [bob, eve]}}", TEST_QUEUES),
            who("eve", "testqueue"),
            Err(rejected),
        ),
        (
            "filter_test.go TestNewFilterExpressions",
            with_rules("  - {name: provided, filter: {users: ['user[0-9]+']}}", TEST_QUEUES),
            who("user42", "testqueue"),
            Ok("root.testqueue"),
        ),
        (
            "filter_test.go TestNewFilterExpressions",
            with_rules("  - {name: provided, filter: {users: ['user[0-9]+']}}", TEST_QUEUES),
            who("user", "testqueue"),
            Err(rejected),
        ),
        (
            "filter_test.go TestAllowGroup",
            with_rules("  - {name: provided, filter: {groups: [dev]}}", TEST_QUEUES),
            Who { user: "u", groups: &["ops", "dev"], namespace: "", queue: "testqueue" },
            Ok("root.testqueue"),
        ),
        (
            "filter_test.go TestAllowNoLists",
            with_rules("  - {name: provided, filter: {type: allow}}", TEST_QUEUES),
            who("u", "testqueue"),
            Ok("root.testqueue"),
        ),
    ];
    let mut failures = String::new();
    for (source, config, who, expected) in cases {
        let found = place(&config, &[who]).remove(0);
        let same = match (&found, expected) {
            (Ok(queue), Ok(expected)) => queue == expected,
            (Err(reason), Err(expected)) => reason.contains(expected),
            _ => false,
        };
        if !same {
            writeln!(failures, "{source}: {expected:?}, but {found:?}").unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// `placement_test.go`, TestManagerPlaceApp: rules in order, lists of who may submit, queues that rules have made.
#[test]
fn rules_are_tried_in_order() {
    let config = partition(
        "  placementrules:\n  - {name: user, parent: {name: fixed, value: testparent}}\n  - {name: provided, create: true}\n  - {name: tag, value: namespace, create: true}\n  queues:\n  - name: root\n    queues:\n    - name: testparent\n      parent: true\n      submitacl: '*'\n      queues:\n      - name: testchild\n    - name: fixed\n      submitacl: 'other-user '\n      parent: true",
    );
    let tagged = |user, namespace| Who { user, groups: &[], namespace, queue: "" };
    let found = place(
        &config,
        &[
            who("testchild", ""),
            who("other-user", ""),
            who("other-user", "root.fixed.leaf"),
            who("unknown-user", "root.fixed.other"),
            tagged("unknown-user", "root.fixed.leaf"),
            tagged("other-user", "root.fixed.leaf"),
            who("other-user", "root.fixed"),
        ],
    );
    let queues: Vec<Option<&str>> = found.iter().map(|f| f.as_deref().ok()).collect();
    let leaf = Some("root.fixed.leaf");
    assert_eq!(queues, [Some("root.testparent.testchild"), None, leaf, None, None, leaf, None]);
}

/// The default configuration of 1.8 (`DefaultSchedulerConfig`): a queue a namespace.
#[test]
fn the_default_configuration_makes_a_queue_a_namespace() {
    let config = "partitions:\n  - name: default\n    placementrules:\n      - name: tag\n        value: namespace\n        create: true\n    queues:\n      - name: root\n        submitacl: '*'\n";
    let found = place(config, &[from(""), from("prod"), from("prod")]);
    let queues: Vec<&str> = found.iter().map(|f| f.as_deref().unwrap()).collect();
    assert_eq!(queues, ["root.default", "root.prod", "root.prod"]);
}

// ---- scheduling ----

/// `queue_test.go` TestMaxResource, TestHeadroom: the tightest maximum up to the root holds pods back, others go on.
#[test]
fn maximum_resources_hold_pods_back() {
    let mut shop = Shop::new(&open(
        "    - name: a\n      resources: {max: {vcore: 3}}\n      queues:\n      - {name: b, resources: {max: {vcore: 2}}}\n      - {name: c}\n    - name: d",
    ));
    let (b, c, d) =
        (shop.app("root.a.b", "u", &[]), shop.app("root.a.c", "u", &[]), shop.app("root.d", "u", &[]));
    let pods = shop.asks(b, 1000, 4);
    shop.asks(c, 1000, 4);
    shop.asks(d, 1000, 2);
    let mut placed = shop.run();
    placed.sort_unstable();
    assert_eq!(placed.len(), 5);
    assert_eq!(placed.iter().filter(|a| **a == d).count(), 2, "d is not held back");
    assert!(placed.iter().filter(|a| **a == b).count() <= 2);
    let first = pods[0];
    shop.release(first);
    assert_eq!(shop.run().len(), 1);
}

/// A maximum of `pods`, and of a resource that a queue does not name: `FitInMaxUndef`.
#[test]
fn pods_are_a_resource_and_what_is_not_named_is_free() {
    let mut shop = Shop::new(&open("    - name: a\n      resources: {max: {pods: 2}}"));
    let a = shop.app("root.a", "u", &[]);
    shop.asks(a, 3000, 5);
    assert_eq!(shop.run().len(), 2);
}

/// `queue_test.go` TestQueue_canRunApp: an application that has got nothing waits for a free slot; one that runs goes on.
#[test]
fn maxapplications_holds_applications_back() {
    let mut shop = Shop::new(&open("    - name: a\n      maxapplications: 2"));
    let apps: Vec<u32> = (0..3).map(|_| shop.app("root.a", "u", &[])).collect();
    let pods: Vec<Vec<PodId>> = apps.iter().map(|app| shop.asks(*app, 100, 2)).collect();
    assert_eq!(shop.run(), [0, 0, 1, 1]);
    shop.release(pods[0][0]);
    assert!(shop.run().is_empty(), "it still runs");
    shop.release(pods[0][1]);
    assert_eq!(shop.run(), [2, 2]);
    // An application that has just completed comes back as running, whatever the maximum.
    shop.asks(apps[0], 100, 1);
    assert_eq!(shop.run(), [0]);
    for pod in shop.asks(apps[1], 100, 1) {
        assert_eq!(shop.run(), [1]);
        shop.release(pod);
    }
}

/// `queue.go` canRunApp: the queue above counts too.
#[test]
fn maxapplications_of_a_parent_counts_all_below() {
    let mut shop = Shop::new(&open(
        "    - name: a\n      maxapplications: 1\n      queues:\n      - {name: b, maxapplications: 1}\n      - {name: c, maxapplications: 1}",
    ));
    let (b, c) = (shop.app("root.a.b", "u", &[]), shop.app("root.a.c", "u", &[]));
    shop.asks(b, 100, 1);
    shop.asks(c, 100, 1);
    assert_eq!(shop.run(), [b]);
}

/// `ugm/manager_test.go` TestUserGroupHeadroom, TestUseWildCard: a user's limit, that of `*`, and that of a group.
#[test]
fn limits_of_users_and_groups() {
    let config = open(
        "    - name: a\n      limits:\n      - {users: [bob], maxresources: {vcore: 2}}\n      - {users: ['*'], maxresources: {vcore: 1}}\n      - {groups: [dev], maxresources: {vcore: 3}}",
    );
    let mut shop = Shop::new(&config);
    let bob = shop.app("root.a", "bob", &[]);
    let bob_too = shop.app("root.a", "bob", &[]);
    let (eve, mallory) = (shop.app("root.a", "eve", &[]), shop.app("root.a", "mallory", &[]));
    for app in [bob, bob_too, eve, mallory] {
        shop.asks(app, 500, 6);
    }
    let placed = shop.run();
    let of = |app: u32| placed.iter().filter(|a| **a == app).count();
    assert_eq!(of(bob) + of(bob_too), 4, "bob's applications share his limit");
    assert_eq!((of(eve), of(mallory)), (2, 2), "each user has the limit of * for himself");

    let mut shop =
        Shop::new(&open("    - name: a\n      limits:\n      - {groups: [dev], maxresources: {vcore: 3}}"));
    let apps: Vec<u32> = ["x", "y", "z"].map(|user| shop.app("root.a", user, &["dev"])).into();
    let other = shop.app("root.a", "w", &["ops"]);
    for app in apps {
        shop.asks(app, 500, 6);
    }
    shop.asks(other, 500, 6);
    let placed = shop.run();
    assert_eq!(placed.iter().filter(|a| **a != other).count(), 6, "the group's users share its limit");
    assert_eq!(placed.iter().filter(|a| **a == other).count(), 6, "who is in no such group is free");
}

/// `ugm` limits in a queue above hold for all queues below it together.
#[test]
fn a_limit_above_counts_what_is_used_below() {
    let mut shop = Shop::new(&open(
        "    - name: a\n      limits:\n      - {users: [bob], maxresources: {vcore: 2}}\n      queues: [{name: b}, {name: c}]",
    ));
    let (b, c) = (shop.app("root.a.b", "bob", &[]), shop.app("root.a.c", "bob", &[]));
    let pods = shop.asks(b, 1000, 3);
    shop.asks(c, 1000, 3);
    assert_eq!(shop.run().len(), 2);
    shop.release(pods[0]);
    assert_eq!(shop.run().len(), 1);
}

/// `ugm/manager_test.go` TestCanRunApp: a user's number of applications.
#[test]
fn limits_of_applications_of_a_user() {
    let mut shop =
        Shop::new(&open("    - name: a\n      limits:\n      - {users: ['*'], maxapplications: 1}"));
    let bob = [shop.app("root.a", "bob", &[]), shop.app("root.a", "bob", &[])];
    let eve = shop.app("root.a", "eve", &[]);
    let first = shop.asks(bob[0], 100, 1);
    shop.asks(bob[1], 100, 1);
    shop.asks(eve, 100, 1);
    assert_eq!(shop.run(), [bob[0], eve]);
    shop.release(first[0]);
    assert_eq!(shop.run(), [bob[1]]);
}

/// `application.go` removeAllocationInternal and hasZeroAllocations: an application counts for its user until it has neither pods nor
/// asks; `queue_tracker.go` canRunApp: one that counts already goes on.
#[test]
fn an_application_with_asks_left_counts_for_its_user() {
    let mut shop =
        Shop::new(&open("    - name: a\n      limits:\n      - {users: ['*'], maxapplications: 1}"));
    let bob = [shop.app("root.a", "bob", &[]), shop.app("root.a", "bob", &[])];
    let small = shop.asks(bob[0], 100, 1)[0];
    let large = shop.asks(bob[0], 20_000, 1)[0];
    let other = shop.asks(bob[1], 100, 1)[0];
    assert_eq!(shop.run(), [bob[0]]);
    shop.release(small);
    assert!(shop.run().is_empty(), "its ask is too large, but it has one");
    let next = shop.asks(bob[0], 100, 1)[0];
    assert_eq!(shop.run(), [bob[0]], "it counts already");
    shop.core.drop_ask(&shop.cluster, large);
    assert!(shop.run().is_empty(), "it has a pod");
    shop.release(next);
    assert_eq!(shop.run(), [bob[1]], "neither pods nor asks are left");
    // The other way round: the last ask goes after the last pod.
    let ask = shop.asks(bob[1], 20_000, 1)[0];
    let third = shop.app("root.a", "bob", &[]);
    shop.asks(third, 100, 1);
    shop.release(other);
    assert!(shop.run().is_empty());
    shop.core.drop_ask(&shop.cluster, ask);
    assert_eq!(shop.run(), [third]);
}

fn priority(spec: PodSpec, priority: i32) -> PodSpec {
    PodSpec { priority, ..spec }
}

/// `sorters_test.go` TestSortAppsFifo, TestSortAppsPriorityFifo: by priority, then by submission; or by submission alone.
#[test]
fn applications_go_by_priority_and_submission() {
    for (setting, expected) in [("enabled", [1, 0, 2]), ("disabled", [0, 1, 2])] {
        let mut shop = Shop::new(&open(&format!(
            "    - name: a\n      properties: {{application.sort.policy: fifo, application.sort.priority: {setting}}}"
        )));
        for at in [0, 5, 0] {
            let app = shop.app("root.a", "u", &[]);
            shop.ask(app, priority(plain(100, MEBI), at));
        }
        assert_eq!(shop.run(), expected, "{setting}");
    }
}

/// `sorters_test.go` TestSortAppsFair, TestSortAppsPriorityFair: who uses least goes first, among equal priorities.
#[test]
fn fair_applications_take_turns() {
    let mut shop = Shop::new(&open("    - name: a\n      properties: {application.sort.policy: fair}"));
    let apps = [shop.app("root.a", "u", &[]), shop.app("root.a", "u", &[])];
    for app in apps {
        shop.asks(app, 100, 3);
    }
    assert_eq!(shop.run(), [0, 1, 0, 1, 0, 1]);
    let high = shop.app("root.a", "u", &[]);
    shop.asks(apps[0], 100, 1);
    shop.ask(high, priority(plain(100, MEBI), 1));
    shop.ask(high, priority(plain(100, MEBI), 1));
    assert_eq!(shop.run(), [high, high, 0]);
}

/// `stateaware` is an alias of `fifo` since 1.6 (`sorting_policy.go`).
#[test]
fn stateaware_is_fifo() {
    let mut shop = Shop::new(&open("    - name: a\n      properties: {application.sort.policy: stateaware}"));
    let apps = [shop.app("root.a", "u", &[]), shop.app("root.a", "u", &[])];
    for app in apps {
        shop.asks(app, 100, 2);
    }
    assert_eq!(shop.run(), [0, 0, 1, 1]);
}

/// `sorters_test.go` TestSortQueuesWithGuarantees: the queue that uses least of what it is guaranteed goes first.
#[test]
fn queues_go_by_their_share_of_what_is_guaranteed() {
    let mut shop = Shop::new(&partition(
        "  preemption: {enabled: false}\n  queues:\n  - name: root\n    submitacl: '*'\n    queues:\n    - {name: a, resources: {guaranteed: {vcore: 1}}}\n    - {name: b, resources: {guaranteed: {vcore: 3}}}",
    ));
    let (a, b) = (shop.app("root.a", "u", &[]), shop.app("root.b", "u", &[]));
    shop.asks(a, 500, 2);
    shop.asks(b, 500, 6);
    assert_eq!(shop.run(), [a, b, b, b, a, b, b, b]);
}

/// `queue_test.go` TestGetFairMaxResource: without a guarantee the share is of the maximum, the queue's or one above it.
#[test]
fn shares_without_guarantees_are_of_the_maximum() {
    let mut shop = Shop::new(&open(
        "    - name: p\n      resources: {max: {vcore: 8}}\n      queues:\n      - {name: a, resources: {max: {vcore: 2}}}\n      - {name: b}",
    ));
    let (a, b) = (shop.app("root.p.a", "u", &[]), shop.app("root.p.b", "u", &[]));
    shop.asks(a, 1000, 2);
    shop.asks(b, 1000, 6);
    assert_eq!(shop.run(), [a, b, b, b, b, a, b, b]);
}

/// `queue_test.go` TestPriorityCalc, TestPriorityCalcWithFencedQueue: offsets add up, a fence hides what is behind it.
#[test]
fn queues_go_by_priority_with_offset_and_fence() {
    for (properties, first) in [
        ("{}", 0),
        ("{priority.offset: '10'}", 1),
        ("{priority.policy: fence}", 0),
        ("{priority.policy: fence, priority.offset: '6'}", 1),
        ("{priority.offset: '5'}", 0),
    ] {
        let mut shop = Shop::new(&open(&format!(
            "    - name: a\n    - name: b\n      properties: {properties}\n      queues: [{{name: c}}]"
        )));
        let (a, c) = (shop.app("root.a", "u", &[]), shop.app("root.b.c", "u", &[]));
        shop.ask(a, priority(plain(100, MEBI), 5));
        shop.ask(c, priority(plain(100, MEBI), 0));
        assert_eq!(shop.run()[0], [a, c][first], "{properties}");
    }
}

/// `queue_test.go` TestApplyTemplate, TestTemplateIsNotOverrideByParent: a child template shapes queues that rules make.
#[test]
fn child_templates_shape_queues_that_are_made() {
    let config = partition(
        "  placementrules:\n  - {name: provided, create: true}\n  queues:\n  - name: root\n    submitacl: '*'\n    queues:\n    - name: p\n      parent: true\n      childtemplate:\n        maxapplications: 1\n        properties: {application.sort.policy: fair}\n        resources: {max: {vcore: 2}}\n      queues:\n      - name: configured",
    );
    let mut shop = Shop::new(&config);
    let made = shop.app("root.p.deep.made", "u", &[]);
    shop.asks(made, 1000, 5);
    assert_eq!(shop.run().len(), 2, "the template goes down through queues that are made");
    let second = shop.app("root.p.deep.made", "u", &[]);
    shop.asks(second, 100, 1);
    assert!(shop.run().is_empty(), "one application");
    let configured = shop.app("root.p.configured", "u", &[]);
    shop.asks(configured, 1000, 5);
    assert_eq!(shop.run().len(), 5, "not for configured queues");
}

/// `nodesorting_test.go` TestSortPolicyWeighting: weights decide which of two nodes is the less used.
#[test]
fn resource_weights_order_nodes() {
    let at = |policy: &str, weights: &str| {
        let config = partition(&format!(
            "  nodesortpolicy: {{type: {policy}, resourceweights: {weights}}}\n  queues:\n  - name: root\n    submitacl: '*'\n    queues: [{{name: a}}]"
        ));
        let mut shop = Shop::with(&config, nodes(2, resources(10_000, 10 * GIBI, 110)));
        // hollow-node-0 has its memory in use, hollow-node-1 its cores.
        let app = shop.app("root.a", "u", &[]);
        for (node, spec) in [(0, plain(1000, 6 * GIBI)), (1, plain(6000, GIBI))] {
            let spec = shop.cluster.pods.add_spec(spec);
            let pod = shop.cluster.pods.add(spec, app);
            shop.core.learn(&shop.cluster, pod);
            shop.core.occupy(&shop.cluster, pod, node);
        }
        shop.asks(app, 100, 1);
        shop.allocate().unwrap().1
    };
    assert_eq!(at("fair", "{vcore: 4.0, memory: 1.0}"), 0);
    assert_eq!(at("fair", "{vcore: 1.0, memory: 4.0}"), 1);
    assert_eq!(at("binpacking", "{vcore: 4.0, memory: 1.0}"), 1);
    assert_eq!(at("binpacking", "{vcore: 1.0, memory: 4.0}"), 0);
    assert_eq!(at("fair", "{memory: 1.0}"), 1, "what has no weight does not count");
    let s = settings(&partition("  nodesortpolicy: {type: binpacking}\n  queues: []"));
    assert_eq!(s.node_sort_policy, NodeSortPolicy::BinPacking);
}

// ---- gangs ----

/// An application of `pods` real pods with so many placeholders of 1 core, in queue root.a; nodes of 4 cores.
fn gang(
    node_count: usize,
    pods: usize,
    members: u32,
    hard: bool,
    real: PodSpec,
    config: &str,
) -> (Harness, Vec<PodId>) {
    let mut c = nodes(node_count, resources(4000, 16 * GIBI, 110));
    let app = c.pods.add_app(App {
        name: "gang".into(),
        queue: "root.a".into(),
        gang_hard: hard,
        placeholder_timeout_ns: 60 * SECOND,
        ..App::default()
    });
    let spec = PodSpec { task_group: Some("workers".into()), ..real };
    let spec = c.pods.add_spec(spec);
    let pods: Vec<PodId> = (0..pods).map(|_| c.pods.add(spec, app)).collect();
    let placeholder = PodSpec { task_group: Some("workers".into()), ..plain(1000, GIBI) };
    let placeholder = c.pods.add_spec(placeholder);
    c.pods.add_placeholders(app, "workers".into(), members, placeholder);
    let mut h = Harness::new(c, &settings(config), "yunikorn-1.8");
    h.start(&pods);
    (h, pods)
}

const QUEUE_A: &str = "    - name: a";

/// `application.go` tryPlaceholderAllocate, `application_test.go`: all placeholders first, then each real pod takes the
/// place of one, on its node, after its deletion.
#[test]
fn a_gang_starts_when_all_its_placeholders_are_bound() {
    let (mut h, pods) = gang(2, 6, 6, false, plain(1000, GIBI), &open(QUEUE_A));
    h.run();
    assert_eq!(h.created.len(), 6);
    assert_eq!(h.deleted.len(), 6);
    let real: Vec<_> = h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).copied().collect();
    let placeholders: Vec<_> = h.bound.iter().filter(|(pod, ..)| !pods.contains(pod)).copied().collect();
    assert_eq!((real.len(), placeholders.len()), (6, 6));
    let last_placeholder = placeholders.iter().map(|(_, _, at)| *at).max().unwrap();
    assert!(real.iter().all(|(_, _, at)| *at > last_placeholder));
    let on = |list: &[(PodId, u32, u64)], node| list.iter().filter(|(_, n, _)| *n == node).count();
    for node in 0..2 {
        assert_eq!(on(&real, node), on(&placeholders, node), "each takes a placeholder's node");
    }
    assert!(h.given_up.is_empty());
}

/// `placeholder_manager.go`: placeholders are created one after the other; `task.go`: the dispatcher waits for each deletion.
#[test]
fn placeholders_are_created_and_deleted_one_by_one() {
    let (mut h, _) = gang(2, 4, 4, false, plain(1000, GIBI), &open(QUEUE_A));
    h.run();
    for times in [&h.created, &h.deleted] {
        assert!(times.windows(2).all(|w| w[1].1 >= w[0].1 + h.bind_latency), "{times:?}");
    }
}

/// `application.go` canReplace: pods beyond the placeholders are scheduled as others are.
#[test]
fn pods_beyond_the_gang_find_their_own_place() {
    let (mut h, pods) = gang(2, 6, 2, false, plain(1000, GIBI), &open(QUEUE_A));
    h.run();
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 6);
    assert_eq!(h.deleted.len(), 2);
}

/// `application.go` timeoutPlaceholderProcessing, soft: what was placed goes, and the pods are scheduled one by one.
#[test]
fn a_soft_gang_that_does_not_fit_goes_on_without() {
    let (mut h, pods) = gang(1, 6, 6, false, plain(1000, GIBI), &open(QUEUE_A));
    h.run_until(59 * SECOND);
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 0, "it waits for all");
    h.run_until(200 * SECOND);
    assert_eq!(h.deleted.len(), 6);
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 4, "as many as fit");
    assert!(h.given_up.is_empty());
}

/// The same, hard: the application fails, and its pods with it.
#[test]
fn a_hard_gang_that_does_not_fit_fails() {
    let (mut h, pods) = gang(1, 6, 6, true, plain(1000, GIBI), &open(QUEUE_A));
    h.run_until(200 * SECOND);
    assert_eq!(h.deleted.len(), 6);
    assert_eq!(h.given_up, pods);
    assert_eq!(h.patched, pods, "each pod's status says so");
}

/// `application.go` timeoutPlaceholderProcessing, case 1: placeholders that no pod came for go when the time is over.
#[test]
fn placeholders_that_nobody_needs_go_at_the_end() {
    let (mut h, pods) = gang(1, 2, 4, false, plain(1000, GIBI), &open(QUEUE_A));
    h.run_until(50 * SECOND);
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 2);
    assert_eq!(h.deleted.len(), 2);
    h.run_until(200 * SECOND);
    assert_eq!(h.deleted.len(), 4);
}

/// `application.go` tryPlaceholderAllocate: a placeholder smaller than the pod is given up; the pod looks for itself.
#[test]
fn a_placeholder_that_is_too_small_is_given_up() {
    let (mut h, pods) = gang(2, 2, 2, false, plain(2000, GIBI), &open(QUEUE_A));
    h.run_until(200 * SECOND);
    assert_eq!(h.deleted.len(), 2);
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 2);
}

/// A core with two nodes and an application whose placeholders, of 1 core, are on the first: as many of each task group as
/// its pods. All pods are given as (task group, spec) and have asked, in this order.
fn placeholders_on_the_first_node(pods: &[(&str, PodSpec)]) -> (Shop, Vec<PodId>) {
    let on = |node: usize, spec: PodSpec| PodSpec {
        node_selector: [(podpace::cluster::HOSTNAME_LABEL.to_owned(), format!("hollow-node-{node}"))].into(),
        ..spec
    };
    let mut c = nodes(2, resources(10_000, 16 * GIBI, 110));
    let app = c.pods.add_app(App { name: "gang".into(), queue: "root.a".into(), ..App::default() });
    let mut groups: Vec<&str> = Vec::new();
    let real: Vec<PodId> = pods
        .iter()
        .map(|(group, spec)| {
            let spec = PodSpec { task_group: Some((*group).to_owned()), ..spec.clone() };
            let spec = c.pods.add_spec(spec);
            if !groups.contains(group) {
                groups.push(group);
            }
            c.pods.add(spec, app)
        })
        .collect();
    for name in groups {
        let members = pods.iter().filter(|(group, _)| *group == name).count();
        let spec = PodSpec { task_group: Some(name.to_owned()), ..on(0, plain(1000, GIBI)) };
        let spec = c.pods.add_spec(spec);
        c.pods.add_placeholders(app, name.to_owned(), u32::try_from(members).unwrap(), spec);
    }
    let mut shop = Shop::with(&open(QUEUE_A), c);
    shop.core.add_app(&shop.cluster, app).unwrap();
    let all = u32::try_from(shop.cluster.pods.len()).unwrap();
    for pod in (shop.cluster.pods.first_placeholder()..all).chain(real.iter().copied()) {
        shop.core.learn(&shop.cluster, pod);
        shop.core.add_ask(&shop.cluster, pod);
    }
    let placed = std::iter::from_fn(|| shop.allocate()).collect::<Vec<_>>();
    assert!(placed.len() == real.len() && placed.iter().all(|(_, node)| *node == 0));
    (shop, real)
}

/// `application.go` tryPlaceholderAllocate: each ask asks the predicates on the node of each placeholder of its group, and when
/// all have been in vain the first ask asks them on the nodes with room in order.
#[test]
fn a_placeholder_s_successor_is_checked_on_every_node_it_is_tried_on() {
    let elsewhere = PodSpec {
        node_selector: [(podpace::cluster::HOSTNAME_LABEL.to_owned(), "hollow-node-1".to_owned())].into(),
        pod_affinity: vec![podpace::cluster::PodAffinityTerm {
            selector: std::collections::BTreeMap::from([("app".to_owned(), "other".to_owned())]).into(),
            topology_key: podpace::cluster::HOSTNAME_LABEL.into(),
            anti: true,
            ..podpace::cluster::PodAffinityTerm::default()
        }],
        ..plain(1000, GIBI)
    };
    let (mut shop, real) = placeholders_on_the_first_node(&[("w", elsewhere.clone()), ("w", elsewhere)]);
    let mut swap = || {
        let mut work = Work::default();
        let swap = shop.core.try_placeholder(&shop.cluster, &mut work);
        (swap.map(|swap| (swap.pod, swap.node)), work.predicates, work.affinity_predicates)
    };
    // Two asks on two placeholders' nodes, and the emptier node.
    assert_eq!(swap(), (Some((real[0], 1)), 5, 5));
    // One ask on one placeholder's node. The other node comes first again: it has one pod, the first has two.
    assert_eq!(swap(), (Some((real[1], 1)), 2, 2));
    assert_eq!(swap(), (None, 0, 0));
}

/// `application.go` tryPlaceholderAllocate: it is the asks that are gone over in order, not the task groups.
#[test]
fn asks_of_several_task_groups_take_placeholders_in_order() {
    let absent =
        PodSpec { node_selector: [("disk".to_owned(), "ssd".to_owned())].into(), ..plain(1000, GIBI) };
    let (mut shop, real) =
        placeholders_on_the_first_node(&[("a", absent), ("b", plain(1000, GIBI)), ("a", plain(1000, GIBI))]);
    let order: Vec<PodId> = std::iter::from_fn(|| {
        shop.core.try_placeholder(&shop.cluster, &mut Work::default()).map(|swap| swap.pod)
    })
    .collect();
    assert_eq!(order, [real[1], real[2]]);
}

/// `partition.go` AddApplication: a gang needs a FIFO queue, and one that may hold it.
#[test]
fn a_gang_needs_a_queue_that_can_take_it() {
    for config in [
        open("    - name: a\n      properties: {application.sort.policy: fair}"),
        open("    - name: a\n      resources: {max: {vcore: 3}}"),
    ] {
        let (mut h, pods) = gang(2, 4, 4, false, plain(1000, GIBI), &config);
        h.run();
        assert_eq!(h.given_up, pods);
        assert!(h.created.is_empty());
    }
}

/// `service.disableGangScheduling`: task groups count for nothing.
#[test]
fn gangs_can_be_switched_off() {
    let config = format!(
        "kind: ConfigMap\ndata:\n  service.disableGangScheduling: 'true'\n  queues.yaml: |\n{}",
        open(QUEUE_A).lines().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "    {line}");
            text
        })
    );
    let (mut h, pods) = gang(1, 6, 6, true, plain(1000, GIBI), &config);
    h.run_until(100 * SECOND);
    assert!(h.created.is_empty());
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 4);
}

/// `queue.go` canRunApp: a gang counts as running from its first placeholder on.
#[test]
fn a_gang_counts_from_its_first_placeholder() {
    let mut c = nodes(4, resources(4000, 16 * GIBI, 110));
    let mut all = Vec::new();
    let mut gangs = Vec::new();
    let spec = |name: &str| PodSpec { task_group: Some(name.into()), ..plain(1000, GIBI) };
    for i in 0..2 {
        let app = c.pods.add_app(App { name: format!("gang-{i}"), queue: "root.a".into(), ..App::default() });
        let id = c.pods.add_spec(spec("g"));
        all.extend((0..2).map(|_| c.pods.add(id, app)));
        gangs.push((app, id));
    }
    for (app, id) in gangs {
        c.pods.add_placeholders(app, "g".into(), 2, id);
    }
    let config = open("    - name: a\n      maxapplications: 1");
    let mut h = Harness::new(c, &settings(&config), "yunikorn-1.8");
    h.start(&all);
    h.run_until(30 * SECOND);
    let bound: Vec<PodId> = h.bound.iter().map(|(pod, ..)| *pod).filter(|p| all.contains(p)).collect();
    assert_eq!(bound, [0, 1], "the second gang waits");
    assert_eq!(h.bound.len(), 4);
    let node = h.cluster.pods.node(0);
    h.at(31 * SECOND, crate::harness::Event::Gone(0, node));
    h.at(31 * SECOND, crate::harness::Event::Gone(1, h.cluster.pods.node(1)));
    h.run_until(100 * SECOND);
    assert_eq!(h.bound.iter().filter(|(pod, ..)| all.contains(pod)).count(), 4);
}

/// Nothing is lost and no node is overfull, whatever the sizes of gangs and nodes.
#[test]
fn gangs_of_all_sizes_leave_nothing_behind() {
    for (node_count, pods, members) in [(1, 1, 1), (3, 10, 7), (3, 12, 12), (3, 13, 12), (2, 3, 8)] {
        let (mut h, real) = gang(node_count, pods, members, false, plain(1000, GIBI), &open(QUEUE_A));
        h.run_until(300 * SECOND);
        let bound = h.bound.iter().filter(|(pod, ..)| real.contains(pod)).count();
        assert_eq!(bound, pods.min(node_count * 4), "{node_count} nodes, {pods} pods, {members} members");
        assert_eq!(h.created.len(), h.deleted.len());
    }
}

// ---- with everything around ----

/// Runs a scenario with the workload given, through an API server and a kubelet a node.
fn simulate(name: &str, text: &str, files: &[(&str, &str)]) -> Completed {
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in files {
        std::fs::write(folder.path().join(file), content).unwrap();
    }
    let text = format!(
        "apiVersion: podpace/v1\nkind: Scenario\nname: {name}\nhosts: {{m: {{cores: 8}}}}\ncluster: {{nodes: [{{count: 4, template: {{allocatable: {{cpu: 4, memory: 16Gi}}}}}}]}}\ncontrolPlane: {{apiServer: {{host: m}}, nodeLifecycle: {{kind: kubelet}}}}\n{text}\n"
    );
    let document = Document::parse("gang.yaml", &text, Some(folder.path())).unwrap();
    let spec = RunSpec::of_scenario(document).unwrap_or_else(|e| panic!("{}", shown(&e)));
    spec.simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}"))
}

/// Placeholders go through the API server as pods do, and are in no count of the workload.
#[test]
fn gangs_run_through_the_whole_control_plane() {
    let done = simulate(
        "gangs",
        "scheduler: {kind: yunikorn, host: m, config: queues.yaml}\nworkload: {pods: [{count: 15, apps: 3, requests: {cpu: 1}, namespace: prod, gang: {minMember: 3}}], start: backlog}",
        &[(
            "queues.yaml",
            "partitions:\n- name: default\n  placementrules: [{name: tag, value: namespace, create: true}]\n  queues: [{name: root, submitacl: '*'}]\n",
        )],
    );
    let counts = done.summary.counts;
    assert_eq!((counts.total, counts.created, counts.bound, counts.failed), (15, 15, 15, 0));
}

/// A hard gang that is too large gives its pods up, and says why.
#[test]
fn a_failed_gang_is_counted_and_explained() {
    let done = simulate(
        "hard",
        "scheduler: {kind: yunikorn, host: m}\nworkload: {pods: [{count: 20, requests: {cpu: 1}, gang: {gangSchedulingStyle: Hard, placeholderTimeout: 30s}}], start: backlog}",
        &[],
    );
    assert_eq!((done.summary.counts.bound, done.summary.counts.failed), (0, 20));
    assert!(
        done.summary.pending_reasons.keys().any(|r| r.contains("gang")),
        "{:?}",
        done.summary.pending_reasons
    );
}

/// Manifests with YuniKorn's annotations are gangs.
#[test]
fn annotations_make_gangs() {
    let pod = |i: u32| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p{i}\n  labels: {{applicationId: gang}}\n  annotations:\n    yunikorn.apache.org/task-group-name: workers\n    yunikorn.apache.org/task-groups: '[{{\"name\": \"workers\", \"minMember\": 20, \"minResource\": {{\"cpu\": \"1\"}}}}]'\nspec:\n  containers: [{{name: c, image: i, resources: {{requests: {{cpu: '1'}}}}}}]\n---\n"
        )
    };
    let manifest: String = (0..4).map(pod).collect();
    let text = |kind: &str| {
        format!(
            "scheduler: {{kind: {kind}, host: m}}\nworkload: {{manifests: [pods.yaml], start: backlog}}\nstop: {{when: allBound, limit: 10m}}"
        )
    };
    let done = simulate("m", &text("yunikorn"), &[("pods.yaml", &manifest)]);
    assert_eq!(done.summary.counts.bound, 0, "20 placeholders do not fit on 16 cores");
    let done = simulate("m", &text("kube-scheduler"), &[("pods.yaml", &manifest)]);
    assert_eq!(done.summary.counts.bound, 4, "kube-scheduler knows no gangs");
}

/// A hard gang among manifests fails when its placeholders can't be placed in the time that the annotation gives.
#[test]
fn a_hard_gang_of_manifests_fails_in_time() {
    let job = |style: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: gang}}\nspec:\n  completions: 8\n  parallelism: 8\n  template:\n    metadata:\n      labels: {{applicationId: gang-1}}\n      annotations:\n        yunikorn.apache.org/task-group-name: tg\n        yunikorn.apache.org/task-groups: '[{{\"name\": \"tg\", \"minMember\": 30, \"minResource\": {{\"cpu\": \"1\"}}}}]'\n        yunikorn.apache.org/schedulingPolicyParameters: placeholderTimeoutInSeconds=30 gangSchedulingStyle={style}\n    spec: {{restartPolicy: Never, containers: [{{name: c, resources: {{requests: {{cpu: 1}}}}}}]}}\n"
        )
    };
    let text = "scheduler: {kind: yunikorn, host: m}\nworkload: {manifests: [job.yaml], start: backlog}\nstop: {when: allBound, limit: 2m}";
    let counts = |style: &str| simulate("m", text, &[("job.yaml", &job(style))]).summary.counts;
    let hard = counts("Hard");
    assert_eq!((hard.bound, hard.failed), (0, 8));
    let soft = counts("Soft");
    assert_eq!((soft.bound, soft.failed), (8, 0), "after 30 s it goes on without its gang");
}

/// Of Spark's pods the driver names both groups; the executors only theirs. The executors' places are held before they come, with
/// what the group's `minResource` says.
#[test]
fn a_driver_names_the_groups_of_its_executors() {
    let pod = |name: &str, group: &str, groups: &str| {
        format!(
            "kind: Pod\nmetadata:\n  name: {name}\n  labels: {{applicationId: spark}}\n  annotations:\n    yunikorn.apache.org/task-group-name: {group}\n{groups}spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 1}}}}}}]}}\n---\n"
        )
    };
    let driver = |executors: u32, cpu: u32| {
        let groups = format!(
            "    yunikorn.apache.org/task-groups: '[{{\"name\": \"driver\", \"minMember\": 1, \"minResource\": {{\"cpu\": 1}}}}, {{\"name\": \"executor\", \"minMember\": {executors}, \"minResource\": {{\"cpu\": {cpu}}}}}]'\n"
        );
        pod("driver", "driver", &groups) + &pod("e1", "executor", "") + &pod("e2", "executor", "")
    };
    let text = "scheduler: {kind: yunikorn, host: m}\nworkload: {manifests: [pods.yaml], start: backlog}\nstop: {when: allBound, limit: 5m}";
    let bound = |manifest: String| simulate("m", text, &[("pods.yaml", &manifest)]).summary.counts.bound;
    assert_eq!(bound(driver(2, 1)), 3);
    assert_eq!(bound(driver(16, 1)), 0, "17 placeholders do not fit on 16 cores");
    assert_eq!(bound(driver(4, 4)), 0, "nor do four of 4 cores beside the driver's");
    assert_eq!(bound(driver(3, 4)), 3);
}

/// A soft gang with the default time of 15 minutes goes on in the end: a run does not stall before.
#[test]
fn a_run_waits_for_the_time_of_a_gang() {
    let done = simulate(
        "soft",
        "scheduler: {kind: yunikorn, host: m}\nworkload: {pods: [{count: 20, requests: {cpu: 1}, hold: 1s, gang: {}}], start: backlog}",
        &[],
    );
    assert_eq!(done.summary.counts.bound, 20, "those that are deleted make room");
}

/// A binding of a placeholder that fails frees its place; the gang goes on when its time is over.
#[test]
fn a_placeholder_that_can_not_be_bound_delays_its_gang() {
    let mut c = nodes(1, resources(4000, 16 * GIBI, 110));
    let app = c.pods.add_app(App {
        name: "gang".into(),
        queue: "root.a".into(),
        placeholder_timeout_ns: 60 * SECOND,
        ..App::default()
    });
    let spec = c.pods.add_spec(PodSpec { task_group: Some("g".into()), ..plain(1000, GIBI) });
    let pods: Vec<PodId> = (0..3).map(|_| c.pods.add(spec, app)).collect();
    c.pods.add_placeholders(app, "g".into(), 3, spec);
    let mut h = Harness::new(c, &settings(&open(QUEUE_A)), "yunikorn-1.8");
    h.failing = vec![4];
    h.start(&pods);
    h.run_until(50 * SECOND);
    assert_eq!(h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count(), 0);
    h.run_until(200 * SECOND);
    let bound = h.bound.iter().filter(|(pod, ..)| pods.contains(pod)).count();
    assert_eq!((bound, h.given_up.len(), h.deleted.len()), (3, 0, 3));
}

/// A configuration and `scheduler.queues` are two answers to one question.
#[test]
fn queues_stand_in_one_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queues.yaml"), open(QUEUE_A)).unwrap();
    let text = SCENARIO.replace("config: queues.yaml", "config: queues.yaml, queues: [{name: root.b}]");
    let document = Document::parse("s.yaml", &text, Some(folder.path())).unwrap();
    let spec = document.decode_scenario().unwrap();
    let errors = resolve(&spec, &document, &ProfileLibrary::built_in(), &Registry::built_in()).unwrap_err();
    assert!(errors.iter().any(|e| e.path == "scheduler.queues"), "{}", shown(&errors));
}

#[derive(Clone, Debug)]
struct AnyGang {
    pods: usize,
    members: u32,
    placeholder_millicores: u64,
    hard: bool,
    /// When the pods come, seconds.
    at: u64,
    /// A pod is deleted so many seconds later.
    deleted: Option<u64>,
}

fn any_gang() -> impl Strategy<Value = AnyGang> {
    (1_usize..6, 0_u32..8, 1_u64..4, any::<bool>(), 0_u64..20, prop::option::of(0_u64..40)).prop_map(
        |(pods, members, halves, hard, at, deleted)| AnyGang {
            pods,
            members,
            placeholder_millicores: halves * 500,
            hard,
            at,
            deleted,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever gangs come and go: every pod that is not deleted is bound, or given up with a hard gang; all placeholders
    /// that got a place are deleted in the end; no pod is bound twice, no node overfull (both are asserted inside).
    #[test]
    fn random_gangs_lose_nothing(gangs in prop::collection::vec(any_gang(), 1..6), limited in any::<bool>()) {
        let mut c = nodes(7, resources(4000, 16 * GIBI, 110));
        let mut arrivals = Vec::new();
        let mut placeholders = Vec::new();
        for (i, g) in gangs.iter().enumerate() {
            let app = c.pods.add_app(App {
                name: format!("gang-{i}"),
                queue: "root.a".into(),
                user: format!("user-{}", i % 2),
                gang_hard: g.hard,
                placeholder_timeout_ns: 30 * SECOND,
                ..App::default()
            });
            let real = c.pods.add_spec(PodSpec { task_group: Some("g".into()), ..plain(1000, GIBI) });
            arrivals.extend((0..g.pods).map(|k| (c.pods.add(real, app), g, k)));
            let size = PodSpec { task_group: Some("g".into()), ..plain(g.placeholder_millicores, GIBI) };
            placeholders.push((app, g.members, c.pods.add_spec(size)));
        }
        for (app, members, spec) in placeholders.into_iter().filter(|(_, members, _)| *members > 0) {
            c.pods.add_placeholders(app, "g".into(), members, spec);
        }
        let limits = "      maxapplications: 2\n      limits:\n      - {users: ['*'], maxapplications: 1, maxresources: {vcore: 9}}";
        let config = open(&format!("    - name: a\n{}", if limited { limits } else { "" }));
        let mut h = Harness::new(c, &settings(&config), "yunikorn-1.8");
        h.start(&[]);
        let mut deleted = Vec::new();
        for (pod, g, k) in &arrivals {
            h.at(g.at * SECOND, crate::harness::Event::Arrive(*pod));
            if let (Some(after), 0) = (g.deleted, *k) {
                let node = u32::MAX;
                h.at((g.at + after) * SECOND + 7, crate::harness::Event::Gone(*pod, node));
                deleted.push(*pod);
            }
        }
        h.run_until(600 * SECOND);
        // Without a free slot a gang's time does not begin: its placeholders stay.
        prop_assert!(limited || h.created.len() == h.deleted.len());
        for (pod, g, _) in &arrivals {
            let bound = h.bound.iter().any(|(p, ..)| p == pod);
            let given_up = h.given_up.contains(pod);
            if !deleted.contains(pod) && !limited {
                prop_assert!(bound || (given_up && g.hard), "pod {pod} of {g:?}");
            }
            prop_assert!(!(bound && given_up));
        }
    }
}
