//! What administrators and their tools use.

mod register;

use crate::http::Routes;

/// All endpoints for administrators.
pub fn routes(routes: &mut Routes) {
    register::routes(routes);
}
