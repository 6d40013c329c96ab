//! What a static program finds in an image of ours: who it is, what it can write, and whether names are looked up, in
//! `/etc/hosts` and by DNS. The test of the image builds it alone and runs it in a pod. Not a part of anything that is shipped.

use std::net::{ToSocketAddrs, UdpSocket};

fn main() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    println!("uid={}", ids.split_whitespace().next().unwrap_or("unknown"));
    println!("writable={}", std::fs::write("/written", "").is_ok());
    let shell = ["/bin/sh", "/bin/bash", "/busybox/sh"].iter().any(|path| std::path::Path::new(path).exists());
    println!("shell={shell}");
    let trusted = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    println!("trusted={}", trusted.matches("BEGIN CERTIFICATE").count() > 100);
    match UdpSocket::bind("127.0.0.1:53") {
        Ok(socket) => drop(std::thread::spawn(move || serve(&socket))),
        Err(error) => println!("cannot serve DNS: {error}"),
    }
    for name in std::env::args().skip(1) {
        match (name.as_str(), 80).to_socket_addrs() {
            Ok(found) => println!("{name}={}", found.map(|a| a.ip().to_string()).collect::<Vec<_>>().join(",")),
            Err(error) => println!("{name}: {error}"),
        }
    }
}

/// A name server on the pod's own loopback that knows one answer: 192.0.2.7.
fn serve(socket: &UdpSocket) {
    let mut packet = [0u8; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        let Some(answer) = packet.get(..length).and_then(answer) else { continue };
        // Who asked may have gone.
        _ = socket.send_to(&answer, from);
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|byte| *byte == 0)?;
    let question = query.get(12..12 + name + 5)?;
    let ipv4 = question.get(name + 1..name + 3)? == [0, 1];
    let mut answer = query.get(..2)?.to_vec();
    // An answer without an error: one question, one record if an IPv4 address is asked for, and nothing else.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(ipv4), 0, 0, 0, 0]);
    answer.extend(question);
    if ipv4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 7]);
    }
    Some(answer)
}
