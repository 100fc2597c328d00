// Package complement only names the suite, so that go.mod has its version; `go test` runs the suite's own packages.
package complement

import _ "github.com/matrix-org/complement"
