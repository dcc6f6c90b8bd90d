//! Why a command failed, told to the person who typed it.

use crate::{
    app::StartError, config::ConfigError, service::keys::SetupError, supervision::Failure, writer::WriteError,
};

use super::{exposure::ExposureError, import::error::ImportError, output::OutputError, verify::VerifyError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("{0}")]
    BadName(String),
    #[error("the command changes nothing; give --name, --scope, --origins or --expires")]
    NoChange,
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Exposure(#[from] ExposureError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A part of the server failed. Whoever supervises the process starts it again.
    #[error("{0}; the process ends, so that it can be started again")]
    Part(Failure),
    /// The server ended without being told to.
    #[error("the server failed: {0}")]
    Server(std::io::Error),
}
