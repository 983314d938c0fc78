//! A Redis that somebody floods under the prefix of the gates.

use moorgate::demo::gitlab::GitLab;

use super::{KEY, PERSON, soon};
use crate::gate_process::{GateProcess, ProcessSetup};
use crate::harness::{Reply, ask_admin, listener, read_to_close, request};
use crate::redis_servers::RedisServer;

/// The growth of a gate during the flood, in KiB.
const GROWTH: u64 = 64 << 10;

const FOREIGN_KEYS: &str = "for i = 1, 100000 do
    redis.call('SET', 'moorgate:{' .. i .. '}:v:' .. i, string.rep('x', 100), 'PX', 600000)
end
return 1";

/// Entries without a meaning, and entries of the wrong form.
const FOREIGN_ENTRIES: &str = "for i = 1, 5000 do
    for _, stream in ipairs({'revocations', 'bells'}) do
        local key = 'moorgate:{gates}:' .. stream
        if i % 2 == 0 then
            redis.call('XADD', key, '*', 'e', 'mm1.' .. string.rep('A', 1000))
        else
            redis.call('XADD', key, '*', 'x', i, 'y', i)
        end
    end
end
return 1";

/// Replicas that nobody has started: their beats are of now, and of the wrong form.
const FOREIGN_REPLICAS: &str = "local now = redis.call('HGET', 'moorgate:{gates}:clock', 'v')
for i = 1, 50000 do
    local beat = i % 2 == 0 and now .. ' mm1.' .. string.rep('A', tonumber(ARGV[1])) or 'x'
    redis.call('HSET', 'moorgate:{gates}:replicas', 'foreign' .. i, beat)
end
return 1";

async fn start(redis: &RedisServer, gitlab: &GitLab) -> GateProcess {
    let identity =
        format!("- {{ name: gitlab, type: gitlab, url: \"http://{}\" }}", gitlab.address());
    let sections = format!(
        "tokens: {{ key_file: key }}\n\
         redis: {{ url: \"redis://127.0.0.1:{}\", timeout: 1s }}\n",
        redis.port
    );
    GateProcess::start(ProcessSetup {
        identity: &[&identity],
        sections: &sections,
        files: &[("key", KEY)],
        ..ProcessSetup::default()
    })
    .await
}

async fn replicas(gate: &GateProcess) -> usize {
    let status = ask_admin(gate.admin, "/status.json").await.body;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["replicas"].as_array().map_or(0, Vec::len)
}

async fn get(gate: &GateProcess, target: &str, credential: (&str, &str)) -> u16 {
    let mut stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
    let request = request("GET", target, Some(credential), "", "");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    Reply::parse(&read_to_close(&mut stream).await).status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_in_redis_lets_nobody_in_refuses_nobody_and_takes_no_memory() {
    let redis = RedisServer::start(&[]);
    let gitlab = GitLab::start(listener()).unwrap();
    let gates = [start(&redis, &gitlab).await, start(&redis, &gitlab).await];
    let know_each_other = async || replicas(&gates[0]).await == 2 && replicas(&gates[1]).await == 2;
    soon("the gates know each other", know_each_other).await;
    let before = gates.each_ref().map(|gate| gate.memory().0);
    let floods = [
        (FOREIGN_KEYS, ""),
        (FOREIGN_ENTRIES, ""),
        (FOREIGN_REPLICAS, "30"),
        (FOREIGN_REPLICAS, "1000"),
    ];
    for (number, (flood, size)) in floods.into_iter().enumerate() {
        assert_eq!(redis.ask(&["EVAL", flood, "0", size]), "1");
        // The gates beat once a second. Some of these requests are questions, some are cached.
        let begun = std::time::Instant::now();
        let mut requests = 0;
        while begun.elapsed().as_secs() < 2 {
            let gate = &gates[requests % 2];
            let target = format!("/v2/demo/{}/tags/list", number * 100 + requests % 5);
            assert_eq!(get(gate, &target, PERSON).await, 404, "flood {number}");
            requests += 1;
        }
        for gate in &gates {
            assert_eq!(get(gate, "/v2/", ("any", "glpat-demo-revoked")).await, 401);
            assert_eq!(ask_admin(gate.admin, "/readyz").await.status, 200);
        }
    }
    for (gate, before) in gates.iter().zip(before) {
        let (_, peak) = gate.memory();
        println!("{} MiB before, {} MiB at most", before >> 10, peak >> 10);
        assert!(peak < before + GROWTH, "{before} KiB before, {peak} KiB at most");
    }
    redis.ask(&["DEL", "moorgate:{gates}:replicas"]);
    soon("the gates know each other again", know_each_other).await;
}
