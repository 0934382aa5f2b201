//! The full names of the unary methods, by which they are limited.

pub(super) const START_WORKSPACE: &str = "/wsman.WorkspaceManager/StartWorkspace";
pub(super) const STOP_WORKSPACE: &str = "/wsman.WorkspaceManager/StopWorkspace";
pub(super) const GET_WORKSPACES: &str = "/wsman.WorkspaceManager/GetWorkspaces";
pub(super) const DESCRIBE_WORKSPACE: &str = "/wsman.WorkspaceManager/DescribeWorkspace";
pub(super) const BACKUP_WORKSPACE: &str = "/wsman.WorkspaceManager/BackupWorkspace";
pub(super) const MARK_ACTIVE: &str = "/wsman.WorkspaceManager/MarkActive";
pub(super) const SET_TIMEOUT: &str = "/wsman.WorkspaceManager/SetTimeout";
pub(super) const CONTROL_PORT: &str = "/wsman.WorkspaceManager/ControlPort";
pub(super) const TAKE_SNAPSHOT: &str = "/wsman.WorkspaceManager/TakeSnapshot";
pub(super) const CONTROL_ADMISSION: &str = "/wsman.WorkspaceManager/ControlAdmission";
pub(super) const DELETE_VOLUME_SNAPSHOT: &str = "/wsman.WorkspaceManager/DeleteVolumeSnapshot";
pub(super) const UPDATE_SSH_KEY: &str = "/wsman.WorkspaceManager/UpdateSSHKey";
pub(super) const DESCRIBE_CLUSTER: &str = "/wsman.WorkspaceManager/DescribeCluster";
pub(super) const GET_IMAGE_SPEC: &str = "/registryfacade.SpecProvider/GetImageSpec";
pub(super) const EXPLAIN_WORKSPACE: &str = "/wsman.inspect.v1.Inspector/ExplainWorkspace";
