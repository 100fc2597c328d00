// Keeps the SDK's own log off the test report (INTEROP_LOG=1 shows it). To be imported before the SDK.

if (!process.env.INTEROP_LOG) {
    for (const method of ["debug", "error", "info", "log", "trace", "warn"]) {
        console[method] = () => {};
    }
}
