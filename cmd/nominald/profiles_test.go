package main

import (
	"bytes"
	"context"
	"os"
	"testing"
)

// TestDevicesPageIsOfTheseProfiles holds the installed page to the profiles.
func TestDevicesPageIsOfTheseProfiles(t *testing.T) {
	var want, problems bytes.Buffer
	if code := run(context.Background(), []string{"profiles", "--reference"}, nil, &want, &problems); code != 0 {
		t.Fatalf("exit code %d: %s", code, problems.String())
	}
	got, err := os.ReadFile("../../packaging/docs/devices.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("packaging/docs/devices.md differs from the profiles; write it anew:\n" +
			"go run ./cmd/nominald profiles --reference > packaging/docs/devices.md")
	}
}
