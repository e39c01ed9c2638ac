package gpio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// heldError is a line that somebody else holds.
type heldError struct {
	consumer string
	err      error
}

func (e *heldError) Error() string { return fmt.Sprintf("%v (consumer %q)", e.err, e.consumer) }
func (e *heldError) Unwrap() error { return e.err }

// The request for a line's state, and the layout of struct gpio_v2_line_info
// (linux/gpio.h): name[32], consumer[32], offset, num_attrs, flags, 10
// attributes of 16 bytes, padding[4].
const (
	getLineInfo    = 0xC100B405 // _IOWR(0xB4, 5, 256 bytes)
	lineInfoSize   = 256
	lineInfoUser   = 32
	lineInfoOffset = 64
	lineInfoFlags  = 72
	lineInfoUsed   = 1 // of the flags
)

// consumerOf asks the kernel who holds a line now; periph knows only who held
// it when the program started.
func consumerOf(chip string, offset int) (string, error) {
	f, err := os.Open(chip)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var info [lineInfoSize]byte
	binary.NativeEndian.PutUint32(info[lineInfoOffset:], uint32(offset))
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), getLineInfo, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return "", errno
	}
	return consumerIn(info[:]), nil
}

// consumerIn reads the name of who holds the line; empty where nobody does or
// it gave none.
func consumerIn(info []byte) string {
	if len(info) < lineInfoSize || binary.NativeEndian.Uint64(info[lineInfoFlags:])&lineInfoUsed == 0 {
		return ""
	}
	name, _, _ := bytes.Cut(info[lineInfoUser:lineInfoOffset], []byte{0})
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, name))
}

// named adds to an error of a held line who holds it.
func named(err error, chip string, offset int) error {
	if err == nil {
		return nil
	}
	if who, infoErr := consumerOf(chip, offset); infoErr == nil && who != "" && isBusy(err) {
		return &heldError{who, err}
	}
	return err
}
