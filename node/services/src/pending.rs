//! Until `spine_proto::ids` and `spine_statemachine::key` land: the names they will have.

/// Routing key.
#[derive(Clone)]
pub struct RoutingKey(pub Vec<u8>);
/// Request id.
#[derive(Clone)]
pub struct RequestId(pub String);
/// Subject key.
#[derive(Clone)]
pub struct SubjectKey(pub [u8; 16]);
