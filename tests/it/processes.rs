//! Child processes that do not outlive the tests.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts a process that the kernel kills when the tests end, however they end.
///
/// The kernel ties it to the *thread* that starts it, and a test's thread ends with the test: so one thread that never
/// ends starts all of them.
pub fn spawn_tied(command: Command) -> std::io::Result<Child> {
    static KEEPER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // SAFETY: prctl is async-signal-safe and touches nothing but the new process.
                #[expect(unsafe_code, reason = "there is no safe way to run something between fork and exec")]
                unsafe {
                    command.pre_exec(|| {
                        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                        Ok(())
                    });
                }
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    keeper.clone().send((command, answer)).expect("the keeper lives as long as the process");
    child.recv().expect("the keeper answers every order")
}
