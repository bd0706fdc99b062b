fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "validate" {
        let profiles = args.get(3).map_or(podpace::cost::ProfileLibrary::built_in(), |m| {
            podpace::cost::ProfileLibrary::with_folder(std::path::Path::new(m))
        });
        let seeds = args.get(4).map_or(5, |s| s.parse().unwrap());
        let sets = args[5.min(args.len())..].iter().filter(|a| a.contains(':')).cloned().collect();
        let o = podpace::calibrate::validate::Options { profiles, seeds, sets };
        let v =
            podpace::calibrate::validate::validate(std::path::Path::new(&args[2]), &o, &|_, _| {}).unwrap();
        if args.iter().any(|a| a == "json") {
            println!("{}", v.json());
        } else {
            println!("{}", v.table());
        }
        return;
    }
    if args[1] == "dump" {
        let file = std::path::Path::new(&args[2]);
        let lib = podpace::cost::ProfileLibrary::with_folder(std::path::Path::new(args.get(4).map_or("models", |s| s)));
        let (mut c, i) = podpace::calibrate::measured::read_conditions(file).unwrap();
        for a in &args { if let Some(v) = a.strip_prefix("percentage_of_nodes_to_score=") { c.percentage_of_nodes_to_score = v.parse().ok(); } if let Some(v) = a.strip_prefix("parallelism=") { c.parallelism = v.parse().ok(); } }
        let plan = podpace::calibrate::measured::plan(
            file,
            &c,
            &i,
            &lib,
            args.get(3).map_or(1, |s| s.parse().unwrap()),
        )
        .unwrap();
        let reg = podpace::scheduler::Registry::built_in();
        let f = podpace::experiment::simulation::Simulation::new(&plan, &reg).unwrap().run();
        for (k, v) in podpace::experiment::report::metrics(&f).iter() {
            println!("{k} {v}");
        }
        println!("{:?} {:?}", f.ended, f.pending_reasons);
        if let Some(podpace::control_plane::apf::Admitter::Apf(a)) = f.control_plane.admitter_status() {
            for l in a.levels() {
                println!("{l:?}");
            }
        }
        let t = podpace::experiment::report::stage_times(&f.cluster.pods, |t| t.bound_ns);
        let mut h = vec![0; 200];
        for x in t {
            h[((x / 500_000_000) as usize).min(199)] += 1;
        }
        println!("{h:?}");
        let b = podpace::experiment::report::bottleneck(&f);
        println!("{}", podpace::experiment::report::sentence(&f, &b));
        for r in podpace::experiment::report::costs(&f) {
            println!(
                "{:12} {:24} {:8} x {:10.2}us = {:.3} s",
                r.process,
                r.operation,
                r.count,
                r.unit_ps as f64 / 1e6,
                r.total_ns as f64 / 1e9
            );
        }
        return;
    }
    let path = args[1].clone();
    let d = podpace::scenario::Document::load(std::path::Path::new(&path)).unwrap();
    let s = d.decode_scenario().unwrap_or_else(|e| {
        for x in e {
            eprintln!("{x}");
        }
        std::process::exit(2)
    });
    let reg = podpace::scheduler::Registry::built_in();
    let p = podpace::scenario::resolve(&s, &d, &podpace::cost::ProfileLibrary::built_in(), &reg)
        .unwrap_or_else(|e| {
            for x in e {
                eprintln!("{x}");
            }
            std::process::exit(2)
        });
    let f = podpace::experiment::simulation::Simulation::new(&p, &reg).unwrap().run();
    for (k, v) in podpace::experiment::report::metrics(&f).iter() {
        println!("{k} {v}");
    }
    let b = podpace::experiment::report::bottleneck(&f);
    println!("{}", podpace::experiment::report::sentence(&f, &b));
}
