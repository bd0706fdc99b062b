fn main() {
    let path = std::env::args().nth(1).unwrap();
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
