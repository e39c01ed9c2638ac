package gpio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"periph.io/x/conn/v3/driver/driverreg"
	pgpio "periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
)

// errNoChip: the kernel shows no GPIO chip.
var errNoChip = errors.New("no /dev/gpiochip* on this machine")

// line is a real line.
type line struct {
	*gpioioctl.GPIOLine
	chip string // path of the chip's device file
}

// Out sets the level. The first call requests the line; the kernel then drives
// it low for some microseconds before a wanted high (modbus.md 6, trap 2). That
// is too short for a mechanical relay and not for a solid-state one, so boards
// whose relay is off at a low level are better.
func (l line) Out(high bool) error {
	return named(l.GPIOLine.Out(pgpio.Level(high)), l.chip, l.Number())
}

// Close gives the line back.
func (l line) Close() error {
	l.GPIOLine.Close()
	return nil
}

// openLine finds an output line.
func openLine(name string) (Pin, error) { return findLine(name) }

// findLine finds a line by name, or by chip and offset. Lines of one board are
// found, and requested, one by one: one that is held leaves the others usable.
func findLine(name string) (line, error) {
	if err := initChips(); err != nil {
		return line{}, err
	}
	if chip, offset, ok := strings.Cut(name, ":"); ok {
		return findOffset(chip, offset)
	}
	for _, chip := range gpioioctl.Chips { // chips of the header come first
		if l := chip.ByName(name); l != nil {
			return line{l, chip.Path()}, nil
		}
	}
	return line{}, fmt.Errorf("no line of that name on %s", chipNames())
}

// findOffset finds a line by the chip's name or label and its number there.
// Chip numbers moved between kernels of the same board; labels did not.
func findOffset(chipName, offset string) (line, error) {
	n, err := strconv.Atoi(offset)
	if err != nil {
		return line{}, fmt.Errorf("offset %q is no number", offset)
	}
	for _, chip := range gpioioctl.Chips {
		if chip.Name() != chipName && chip.Label() != chipName {
			continue
		}
		if n < 0 || n >= chip.LineCount() {
			return line{}, fmt.Errorf("%s has lines 0 to %d", chipName, chip.LineCount()-1)
		}
		return line{chip.ByNumber(n), chip.Path()}, nil
	}
	return line{}, fmt.Errorf("no chip of that name among %s", chipNames())
}

func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) }

// input is a real input line.
type input struct {
	line
	pull pgpio.Pull
}

// openInput finds a line and makes it an input with the given bias.
func openInput(name string, pull Pull) (Contact, error) {
	l, err := findLine(name)
	if err != nil {
		return nil, err
	}
	in := input{l, pgpio.Float} // Float sends no bias flag
	switch pull {
	case PullUp:
		in.pull = pgpio.PullUp
	case PullDown:
		in.pull = pgpio.PullDown
	}
	if err := in.configure(); err != nil {
		l.GPIOLine.Close() // modbus.md 6, trap 3
		return nil, err
	}
	return in, nil
}

func (i input) configure() error {
	return named(i.In(i.pull, pgpio.BothEdges), i.chip, i.Number())
}

// High reads the level. periph takes a read that fails for a low level, so the
// line is configured anew first: that fails where the line is lost.
func (i input) High() (bool, error) {
	if err := i.configure(); err != nil {
		return false, err
	}
	return bool(i.Read()), nil
}

// Wait returns at the next edge or after the timeout.
func (i input) Wait(timeout time.Duration) { i.WaitForEdge(timeout) }

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
