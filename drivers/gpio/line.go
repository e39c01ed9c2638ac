package gpio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"periph.io/x/conn/v3/driver/driverreg"
	pgpio "periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
)

// errNoChip: the kernel shows no GPIO chip.
var errNoChip = errors.New("no /dev/gpiochip* on this machine")

// line is a real output line.
type line struct{ *gpioioctl.GPIOLine }

// Out sets the level. The first call requests the line; the kernel then drives
// it low for some microseconds before a wanted high (modbus.md 6, trap 2), so
// boards whose relay is off at a low level are better.
func (l line) Out(high bool) error { return l.GPIOLine.Out(pgpio.Level(high)) }

// Close gives the line back.
func (l line) Close() error {
	l.GPIOLine.Close()
	return nil
}

// openLine finds a line by name, or by chip and offset.
func openLine(name string) (Pin, error) {
	if err := initChips(); err != nil {
		return nil, err
	}
	if chip, offset, ok := strings.Cut(name, ":"); ok {
		return openOffset(chip, offset)
	}
	for _, chip := range gpioioctl.Chips { // chips of the header come first
		if l := chip.ByName(name); l != nil {
			return line{l}, nil
		}
	}
	return nil, fmt.Errorf("no line of that name on %s", chipNames())
}

// openOffset finds a line by the chip's name or label and its number there.
// Chip numbers moved between kernels of the same board; labels did not.
func openOffset(chipName, offset string) (Pin, error) {
	n, err := strconv.Atoi(offset)
	if err != nil {
		return nil, fmt.Errorf("offset %q is no number", offset)
	}
	for _, chip := range gpioioctl.Chips {
		if chip.Name() != chipName && chip.Label() != chipName {
			continue
		}
		if n < 0 || n >= chip.LineCount() {
			return nil, fmt.Errorf("%s has lines 0 to %d", chipName, chip.LineCount()-1)
		}
		return line{chip.ByNumber(n)}, nil
	}
	return nil, fmt.Errorf("no chip of that name among %s", chipNames())
}

func chipNames() string {
	names := make([]string, len(gpioioctl.Chips))
	for i, chip := range gpioioctl.Chips {
		names[i] = fmt.Sprintf("%s (%s)", chip.Name(), chip.Label())
	}
	return strings.Join(names, ", ")
}

// initChips has periph open the chips, once in the life of the program. Its
// result is kept by periph whether good or bad, so it is not called before
// every chip can be opened: a chip that appears later, or rights that are given
// later, are then found.
func initChips() error {
	if len(gpioioctl.Chips) > 0 {
		return nil
	}
	paths, err := filepath.Glob("/dev/gpiochip*")
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return errNoChip
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	_, err = driverreg.Init()
	if fdErr := keepStdin(); err == nil {
		err = fdErr
	}
	if err == nil && len(gpioioctl.Chips) == 0 {
		err = errNoChip
	}
	return err
}

// keepStdin opens /dev/null as file descriptor 0 where periph has closed it: on
// boards with two names for one chip it closes 0, and a line that got 0 next
// would count as not requested (modbus.md 6, trap 4).
func keepStdin() error {
	var st syscall.Stat_t
	if err := syscall.Fstat(0, &st); !errors.Is(err, syscall.EBADF) {
		return err
	}
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil || fd == 0 {
		return err
	}
	return syscall.Close(fd) // somebody else got 0 first, which is as good
}
