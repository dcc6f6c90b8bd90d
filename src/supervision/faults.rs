//! Lets a part fail when a test asks for it. Only a debug build can: a release has none of this code, so that there is no door.
//!
//! The environment variable `TEST_FAULT_FILE` names a file. When the file says `panic relay`, the relay panics at its next step.
//! `end` lets the part return, `hang` lets it wait for ever, and `block` keeps its thread as well.

#[cfg(debug_assertions)]
pub(super) use debug::Faults;
#[cfg(not(debug_assertions))]
pub(super) use release::Faults;

#[cfg(debug_assertions)]
mod debug {
    use std::{env, fs, future::Future, path::PathBuf, thread, time::Duration};

    use tokio::sync::watch;

    use crate::supervision::failure::Part;

    /// The faults that the file asks for.
    #[derive(Default)]
    pub(in crate::supervision) struct Faults {
        file: Option<PathBuf>,
        /// How it fails, and the beginning of the part's name.
        wanted: watch::Sender<Option<(String, String)>>,
    }

    impl Faults {
        pub(in crate::supervision) fn from_environment() -> Self {
            Self { file: env::var_os("TEST_FAULT_FILE").map(PathBuf::from), ..Self::default() }
        }

        /// Looks what the file says now.
        pub(in crate::supervision) fn read(&self) {
            let Some(text) = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok()) else {
                return;
            };
            let Some((how, part)) = text.trim().split_once(' ') else { return };
            let wanted = Some((how.to_owned(), part.to_owned()));
            self.wanted.send_if_modified(|before| {
                let is_new = *before != wanted;
                if is_new {
                    before.clone_from(&wanted);
                }
                is_new
            });
        }

        /// Runs the future of a part, until it ends or is to fail.
        pub(in crate::supervision) async fn endure(&self, part: &Part, future: impl Future<Output = ()>) {
            if self.file.is_none() {
                return future.await;
            }
            let mut wanted = self.wanted.subscribe();
            let fault = async {
                let is_meant = |wanted: &Option<(String, String)>| {
                    wanted.as_ref().is_some_and(|(_, name)| part.starts_with(name))
                };
                let found = wanted.wait_for(is_meant).await.ok().and_then(|found| found.clone());
                found.map(|(how, _)| how).unwrap_or_default()
            };
            let mut future = std::pin::pin!(future);
            let how = tokio::select! {
                biased;
                how = fault => how,
                () = &mut future => return,
            };
            match how.as_str() {
                "panic" => panic!("a test lets the {part} panic"),
                "end" => {}
                "block" => loop {
                    thread::sleep(Duration::from_secs(1));
                },
                // What the part owns stays alive.
                _ => std::future::pending().await,
            }
        }
    }
}

#[cfg(not(debug_assertions))]
mod release {
    use std::future::Future;

    use crate::supervision::failure::Part;

    /// No faults.
    #[derive(Default)]
    pub(in crate::supervision) struct Faults;

    impl Faults {
        pub(in crate::supervision) fn from_environment() -> Self {
            Self
        }

        pub(in crate::supervision) fn read(&self) {}

        pub(in crate::supervision) async fn endure(&self, _: &Part, future: impl Future<Output = ()>) {
            future.await;
        }
    }
}
