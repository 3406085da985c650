//! What etcd counts of itself, on its client port.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(2);
/// Enough for all metrics of a member.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
const FSYNCS: &str = "etcd_disk_wal_fsync_duration_seconds_count ";

/// How often this member has synced its log since it started; `None` where it does not say.
pub async fn wal_fsyncs(address: &str) -> Option<u64> {
    let text = timeout(DEADLINE, page(address)).await.ok()?.ok()?;
    find(&text)
}

async fn page(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.take(BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

fn find(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(FSYNCS))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_count_is_found_among_the_others() {
        let text = "# HELP x\netcd_disk_wal_fsync_duration_seconds_sum 1.5\netcd_disk_wal_fsync_duration_seconds_count 42\n";
        assert_eq!(find(text), Some(42));
        assert_eq!(find("nothing"), None);
    }
}
