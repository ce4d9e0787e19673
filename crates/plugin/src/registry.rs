//! Which plugins there are. A new one is a module and one line in each of the two lists here.

use qtap_config::Plugin as Settings;

use crate::access_logs::AccessLogs;
use crate::http_capture::HttpCapture;
use crate::plugin::{Context, Plugin};
use crate::report_usage::ReportUsage;

/// Names in metrics.
pub(crate) const NAMES: [&str; 3] = ["access_logs", "http_capture", "report_usage"];

/// Makes the plugin that `settings` ask for; `body_limit` bounds each body.
pub(crate) fn build(
    settings: &Settings,
    context: &Context,
    body_limit: usize,
) -> (&'static str, Box<dyn Plugin>) {
    match settings {
        Settings::AccessLogs(own) => ("access_logs", Box::new(AccessLogs::new(own, context, body_limit))),
        Settings::HttpCapture(own) => (
            "http_capture",
            Box::new(HttpCapture::new(own, context, body_limit)),
        ),
        Settings::ReportUsage(own) => ("report_usage", Box::new(ReportUsage::new(own, context))),
    }
}
