//! `/devices`, `/delete_devices`: the devices of the caller.

use ::http::StatusCode;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, UInt,
    api::client::{
        device::{Device, delete_device, delete_devices, get_device, get_devices, update_device},
        uiaa::AuthData,
    },
};

use super::uia;
use crate::{
    app::App,
    flows,
    http::{Caller, IntoOutgoing as _, Json, Outgoing, Parts, RateClass, Refusal, Routes},
    store::{Batch, View},
    users::{
        devices::{self, DeviceError, Seen},
        uia::Passed,
    },
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_devices::v3::Request, _, _>(RateClass::Light, get_devices);
    routes.add::<get_device::v3::Request, _, _>(RateClass::Light, get_device);
    routes.add::<update_device::v3::Request, _, _>(RateClass::Light, update_device);
    routes.add_with_parts::<delete_device::v3::Request, _, _>(RateClass::Light, delete_device);
    routes.add_with_parts::<delete_devices::v3::Request, _, _>(RateClass::Light, delete_devices);
}

/// The most devices that one request may name.
const MOST: usize = 1_000;

async fn get_devices(
    app: App,
    caller: Caller,
    _: get_devices::v3::Request,
) -> Result<get_devices::v3::Response, Refusal> {
    let devices = app.users.devices_of(&caller.user_id).await?;
    let devices = devices.into_iter().map(|(device_id, device, seen)| describe(device_id, device, seen));
    Ok(get_devices::v3::Response::new(devices.collect()))
}

async fn get_device(
    app: App,
    caller: Caller,
    request: get_device::v3::Request,
) -> Result<get_device::v3::Response, Refusal> {
    let (user_id, device_id) = (caller.user_id.clone(), request.device_id.clone());
    let device = app.users.read(move |view| devices::get(view, &user_id, &device_id)).await?;
    let device = device.ok_or(DeviceError::NotFound)?;
    let seen = app.users.last_seen(&caller.user_id, &request.device_id).await?;
    Ok(get_device::v3::Response::new(describe(request.device_id, device, seen)))
}

fn describe(device_id: OwnedDeviceId, device: devices::Device, seen: Option<Seen>) -> Device {
    let mut described = Device::new(device_id);
    described.display_name = device.display_name;
    if let Some(Seen { at, ip }) = seen {
        described.last_seen_ts = UInt::new(at).map(MilliSecondsSinceUnixEpoch);
        described.last_seen_ip = ip;
    }
    described
}

/// Application services also make devices so, which is answered 201: ruma's response knows no other status than 200.
async fn update_device(app: App, caller: Caller, request: update_device::v3::Request) -> Result<Outgoing, Refusal> {
    let update_device::v3::Request { device_id, display_name, .. } = request;
    if caller.appservice().is_some() {
        let whose = (caller.user_id, device_id);
        let is_new = flows::appservice::put_device(&app.users, whose, display_name).await?;
        let mut answer = Json::empty().into_outgoing()?;
        if is_new {
            answer.status = StatusCode::CREATED;
        }
        return Ok(answer);
    }
    let rename = move |view: &View<'_>, batch: &mut Batch| {
        devices::rename(view, batch, (&caller.user_id, &device_id), display_name.clone())
    };
    app.users.change(rename).await?;
    Json::empty().into_outgoing()
}

/// What whoever deletes devices has proved.
async fn prove(app: &App, caller: &Caller, parts: &Parts, auth: Option<AuthData>) -> Result<Passed, Refusal> {
    if caller.appservice().is_some() {
        return Ok(Passed::by_appservice());
    }
    uia::authenticate(app, &uia::operation(caller, parts), uia::PASSWORD, auth).await
}

async fn delete_device(
    app: App,
    caller: Caller,
    request: delete_device::v3::Request,
    parts: Parts,
) -> Result<delete_device::v3::Response, Refusal> {
    let passed = prove(&app, &caller, &parts, request.auth).await?;
    flows::delete_device::delete_devices(&app.users, &caller.user_id, vec![request.device_id], passed).await?;
    Ok(delete_device::v3::Response::new())
}

async fn delete_devices(
    app: App,
    caller: Caller,
    request: delete_devices::v3::Request,
    parts: Parts,
) -> Result<delete_devices::v3::Response, Refusal> {
    if request.devices.len() > MOST {
        return Err(Refusal::invalid_param("at most 1,000 devices can be deleted at once"));
    }
    let passed = prove(&app, &caller, &parts, request.auth).await?;
    flows::delete_device::delete_devices(&app.users, &caller.user_id, request.devices, passed).await?;
    Ok(delete_devices::v3::Response::new())
}
