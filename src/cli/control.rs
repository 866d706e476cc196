//! Asks the running daemon on its control socket.

use super::Exit;
use super::complain;
use super::say;
use crate::config::Config;
use crate::wire::control::Answer;
use crate::wire::control::Request;
use crate::wire::control::line;
use crate::wire::control::read;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The daemon answers at once; a table of listings takes a moment.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks, and says each row that `shown` makes a line of. When nothing was shown or
/// changed, `nothing` is complained of.
pub(super) fn tell(
    request: &Request,
    config: Option<&Path>,
    nothing: Option<&str>,
    shown: impl Fn(Answer) -> Option<String>,
) -> Exit {
    let answers = match ask(request, config) {
        Ok(answers) => answers,
        Err(why) => {
            complain(&why);
            return Exit::CouldNotRun;
        }
    };
    for answer in answers {
        match (answer, nothing) {
            (Answer::Done { count: 0 }, Some(nothing)) => {
                complain(nothing);
                return Exit::Mistakes;
            }
            (Answer::Refused { why }, _) => {
                complain(&why);
                return Exit::CouldNotRun;
            }
            (answer, _) => shown(answer).iter().for_each(|line| say(line)),
        }
    }
    Exit::Fine
}

/// All answers, or why there are none and what to do.
fn ask(request: &Request, config: Option<&Path>) -> Result<Vec<Answer>, String> {
    let config = Config::load(config)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let Some(path) = config.control else {
        return Err("the configuration names no control socket: say `control: unix:/run/gatepost/control.sock`, restart the daemon, and give this command --config".into());
    };
    let talk = || -> std::io::Result<Vec<String>> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // A daemon that refuses us may have closed already; what it said is read.
        let _ = stream.write_all(line(request).as_bytes());
        BufReader::new(stream).lines().collect()
    };
    let lines = talk().map_err(|error| {
        format!("can't ask the daemon on {}: {error}; does it run with this configuration?", path.display())
    })?;
    let answers: Vec<Answer> = lines.iter().map(|line| read(line)).collect::<Result<_, _>>()?;
    match answers.last() {
        Some(Answer::Done { .. } | Answer::Refused { .. }) => Ok(answers),
        _ => Err("the daemon broke off its answer".into()),
    }
}
