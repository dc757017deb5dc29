//! Which kind of processor computed a state. Float kernels choose their instructions by it, so that equal logs end in
//! equal bits on equal kinds only; digests of different kinds are not compared.

/// Architecture and the instruction sets that numeric kernels choose by, such as `x86_64+avx2+fma`.
pub fn fingerprint() -> String {
    let mut fingerprint = String::from(std::env::consts::ARCH);
    for feature in features() {
        fingerprint.push('+');
        fingerprint.push_str(feature);
    }
    fingerprint
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    // `is_x86_feature_detected!` takes literals only.
    let detected = [
        ("sse4.1", std::is_x86_feature_detected!("sse4.1")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
        ("avx512dq", std::is_x86_feature_detected!("avx512dq")),
        ("avx512vl", std::is_x86_feature_detected!("avx512vl")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
    ];
    detected.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    let detected = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    detected.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fingerprint_is_stable_and_begins_with_the_architecture() {
        assert_eq!(super::fingerprint(), super::fingerprint());
        assert!(super::fingerprint().starts_with(std::env::consts::ARCH));
    }
}
