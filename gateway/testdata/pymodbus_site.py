"""A site on pymodbus: python3 pymodbus_site.py {124|704}.

Unit 200 is a SunSpec meter (models 1, 203 at 40000), unit 1 a SunSpec battery,
commanded through model 124 (models 1, 120, 802, 124 at 50000) or through model
704 (models 1, 701, 702, 713, 704 at 0). Written from the SunSpec Alliance's
model files alone. The house draws about 6 kW; the battery answers late, ramps,
and ends a command by itself when its reversion timer runs out.

Prints "ready PORT", then what is really going on as a line of JSON each 100 ms.
Ends when its standard input does.
"""
import asyncio
import json
import math
import struct
import sys
import time
from collections import deque

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.datastore import ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.server.async_io import ModbusTcpServer

TICK_S = 0.1
LOAD_W = 6000
POWER_W = 5000  # of the battery, both directions
CAPACITY_WH = 13500
DEAD_S, LAG_S, RAMP_W_PER_S = 0.8, 0.7, 1500


def u32(value):
    return list(struct.unpack(">HH", struct.pack(">I", int(value) & 0xFFFFFFFF)))


def u64(value):
    return list(struct.unpack(">HHHH", struct.pack(">Q", int(value))))


def s16(value):
    return int(round(value)) & 0xFFFF


def signed(*words):
    raw = int.from_bytes(struct.pack(f">{len(words)}H", *words), "big")
    bits = 16 * len(words)
    return raw - (1 << bits) if raw >> (bits - 1) else raw


def text(value, words):
    raw = value.encode().ljust(2 * words, b"\0")
    return list(struct.unpack(f">{words}H", raw))


def model(number, length, points, empty=0xFFFF):
    """A model whose points stand at their offsets from the ID register."""
    regs = [number, length] + [empty] * length
    for at, value in points.items():
        words = value if isinstance(value, list) else [value & 0xFFFF]
        regs[at:at + len(words)] = words
    return regs


def common(product, serial, length):
    return model(1, length, {2: text("Independent", 16), 18: text(product, 16),
                             34: text("", 8), 42: text("7.3", 8), 50: text(serial, 16)})


class Map(ModbusSlaveContext):
    """A unit's holding registers: a SunSpec map at its base, nothing else.

    Only the named registers can be written; all that is written is counted
    and told to on_write, which the physics uses.
    """

    def __init__(self, base, models, writable=(), on_write=None):
        regs, self.at = text("SunS", 2), {}
        for regs_of_model in models:
            self.at[regs_of_model[0]] = base + len(regs)
            regs += regs_of_model
        regs += [0xFFFF, 0]
        # The tables that no SunSpec device has hold one unused bit or word.
        nothing = {table: ModbusSequentialDataBlock(65535, [0]) for table in ("di", "co", "ir")}
        self.regs = ModbusSparseDataBlock({base + i: v for i, v in enumerate(regs)})
        super().__init__(hr=self.regs, zero_mode=True, **nothing)
        self.names = {self.at[number] + at: name for number, at, name in writable}
        self.on_write, self.writes = on_write, {}

    def validate(self, fc_as_hex, address, count=1):
        asked = range(address, address + count)
        if fc_as_hex in (6, 16) and not all(a in self.names for a in asked):
            return False
        return super().validate(fc_as_hex, address, count)

    def setValues(self, fc_as_hex, address, values):  # from the wire only
        super().setValues(fc_as_hex, address, values)
        written = [self.names[address + i] for i in range(len(values))]
        for name in written:
            self.writes[name] = self.writes.get(name, 0) + 1
        self.on_write(written)

    def get(self, number, at, words=1):
        return signed(*self.regs.getValues(self.at[number] + at, words))

    def put(self, number, points):
        for at, value in points.items():
            words = value if isinstance(value, list) else [value & 0xFFFF]
            self.regs.setValues(self.at[number] + at, words)


class Battery:
    """The physics, and the timer that ends a command."""

    timers = 0  # seconds given with the last command

    def __init__(self):
        self.power_w, self.discharged_ws = 0.0, 0.0
        self.soc = 80.0
        self.lapses, self.ends_at = 0, None
        self.pipe = deque([0.0] * round(DEAD_S / TICK_S))

    def arm(self, seconds):
        """Starts the timer; 0 means that the command never ends."""
        self.timers = seconds
        self.ends_at = time.monotonic() + seconds if seconds else None

    def step(self, elapsed_s):
        if self.ends_at is not None and time.monotonic() >= self.ends_at:
            self.ends_at = None
            self.lapses += 1
            self.lapse()
        self.pipe.append(max(-POWER_W, min(POWER_W, self.asked_w())))
        move = (self.pipe.popleft() - self.power_w) * (1 - math.exp(-elapsed_s / LAG_S))
        limit = RAMP_W_PER_S * elapsed_s
        self.power_w += max(-limit, min(limit, move))
        if abs(self.power_w) < 5:
            self.power_w = 0.0
        self.discharged_ws += self.power_w * elapsed_s
        self.soc -= self.power_w * elapsed_s / 36 / CAPACITY_WH
        self.show()

    def charge_status(self):
        return 3 if self.power_w > 10 else 4 if self.power_w < -10 else 6


class Storage124(Battery):
    """Model 124, rates in 0.01 %. Only a write of the mode starts the timer."""

    def __init__(self):
        super().__init__()
        self.map = Map(50000, [
            common("Storage 124", "ST-124-0001", 65),
            model(120, 26, {2: 82, 3: POWER_W, 4: 0, 19: CAPACITY_WH // 10, 20: 1,
                            23: POWER_W, 24: 0, 25: POWER_W, 26: 0}),
            model(802, 62, {3: CAPACITY_WH // 10, 4: POWER_W, 5: POWER_W, 11: 8000, 16: 6, 17: 0,
                            22: 3, 34: 4800, 44: 0, 47: 0, 52: 0, 53: 1, 54: 0, 55: 0x8000,
                            56: -2, 57: 0x8000, 58: 0x8000, 59: -1, 60: 0x8000, 61: -1,
                            62: 0x8000, 63: 1}),
            model(124, 24, {2: POWER_W, 3: 100, 4: 100, 5: 0, 7: 5, 8: 8000, 11: 6, 12: 10000, 13: 10000,
                            14: 0, 15: 0, 16: 0, 17: 1, 18: 0, 19: 0, 20: 0x8000, 21: 0, 22: -2,
                            23: 0x8000, 24: 0x8000, 25: -2}),
        ], [(124, 5, "StorCtl_Mod"), (124, 12, "OutWRte"), (124, 13, "InWRte"), (124, 14, "InOutWRte_WinTms"),
            (124, 15, "InOutWRte_RvrtTms"), (124, 17, "ChaGriSet")], self.written)

    def written(self, names):
        if "StorCtl_Mod" in names:
            self.arm(self.map.get(124, 15) if self.commanded() else 0)

    def commanded(self):
        return self.map.get(124, 5) != 0

    def lapse(self):
        self.map.put(124, {5: 0, 12: 10000, 13: 10000})

    def asked_w(self):
        """Idle between its limits: a negative one forces the other direction."""
        mode = self.map.get(124, 5)
        most = self.map.get(124, 12) / 10000 * POWER_W if mode & 2 else POWER_W
        least = -self.map.get(124, 13) / 10000 * POWER_W if mode & 1 else -POWER_W
        return max(least, min(most, 0.0))

    def show(self):
        status, soc = self.charge_status(), round(self.soc * 100)
        self.map.put(802, {11: soc, 16: status, 44: s16(self.power_w / 48), 47: s16(self.power_w / 10)})
        self.map.put(124, {8: soc, 11: status})


class Storage704(Battery):
    """Model 704 with WSet in W. Only a write of WSetEna starts the timer."""

    def __init__(self):
        super().__init__()
        self.map = Map(0, [
            common("Storage 704", "ST-704-0001", 66),
            model(701, 153, {2: 2, 3: 1, 4: 3, 5: 1, 10: 0, 19: u64(0), 23: u64(0), 113: -1, 114: -1,
                             115: -3, 116: 0, 117: -3, 118: 0, 119: 0, 120: 0, 121: 0}, 0x8000),
            model(702, 50, {2: POWER_W // 10, 10: POWER_W // 10, 11: POWER_W // 10, 26: POWER_W // 10,
                            34: POWER_W // 10, 35: POWER_W // 10, 45: 1}),
            model(713, 7, {2: CAPACITY_WH // 10, 3: CAPACITY_WH // 10, 4: 800, 5: 1000, 6: 0, 7: 1, 8: -1}),
            model(704, 65, {22: 0, 23: 1, 24: u32(0), 26: u32(0), 28: 0x8000, 29: 0x8000, 30: 0,
                            31: u32(0), 33: u32(0), 52: 1, 53: 0x8000, 54: -1, 55: 1, 56: 0x8000}),
        ], [(704, 22, "WSetEna"), (704, 23, "WSetMod"), (704, 24, "WSet"), (704, 25, "WSet"), (704, 26, "WSetRvrt"),
            (704, 27, "WSetRvrt"), (704, 30, "WSetEnaRvrt"), (704, 31, "WSetRvrtTms"), (704, 32, "WSetRvrtTms")],
            self.written)

    def written(self, names):
        if "WSetEna" in names:
            self.arm(self.map.get(704, 31, 2) if self.commanded() else 0)

    def commanded(self):
        return self.map.get(704, 22) == 1

    def lapse(self):
        self.map.put(704, {22: self.map.get(704, 30), 24: u32(self.map.get(704, 26, 2))})

    def asked_w(self):
        return 10.0 * self.map.get(704, 24, 2) if self.commanded() else 0.0

    def show(self):
        left = self.ends_at - time.monotonic() if self.ends_at is not None else 0
        self.map.put(701, {4: 3 if self.power_w else 7, 10: s16(self.power_w),
                           19: u64(max(0, self.discharged_ws) / 3600)})
        self.map.put(713, {3: round(self.soc * CAPACITY_WH / 1000), 4: round(self.soc * 10)})
        self.map.put(704, {33: u32(left)})


def grid_meter():
    return Map(40000, [
        common("Meter 203", "ME-203-0001", 66),
        model(203, 105, {18: LOAD_W, 22: 0, 38: u32(0), 46: u32(1000), 54: 0, 6: -2, 15: -1, 16: 5000, 17: -2},
              0x8000),
    ])


async def physics(battery, meter):
    """Moves the site on and tells the truth about it."""
    last, uncontrolled_ws, imported_ws = time.monotonic(), 0.0, 0.0
    net_ws = 0.0
    while True:
        await asyncio.sleep(TICK_S)
        now = time.monotonic()
        elapsed_s, last = now - last, now
        load_w = LOAD_W + 150 * math.sin(now / 3) + 40 * math.sin(2.7 * now)
        battery.step(elapsed_s)
        net_w = load_w - battery.power_w
        uncontrolled_ws += load_w * elapsed_s
        net_ws += net_w * elapsed_s
        imported_ws += max(0.0, net_w) * elapsed_s
        phase = s16(net_w / 3)
        meter.put(203, {18: s16(net_w), 19: [phase] * 3, 46: u32(1000 + imported_ws / 3600)})
        print(json.dumps({
            "t": time.time(), "battery_w": battery.power_w, "net_w": net_w, "load_w": load_w,
            "load_ws": uncontrolled_ws, "net_ws": net_ws, "commanded": battery.commanded(),
            "timer_s": battery.timers, "lapses": battery.lapses, "writes": battery.map.writes,
        }), flush=True)


async def until_stdin_ends():
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def main():
    battery = {"124": Storage124, "704": Storage704}[sys.argv[1]]()
    meter = grid_meter()
    units = ModbusServerContext(slaves={1: battery.map, 200: meter}, single=False)
    server = ModbusTcpServer(units, address=("127.0.0.1", 0))
    serving = asyncio.ensure_future(server.serve_forever())
    await server.serving
    print("ready", server.server.sockets[0].getsockname()[1], flush=True)
    work = asyncio.ensure_future(physics(battery, meter))
    ended = asyncio.ensure_future(until_stdin_ends())
    await asyncio.wait([serving, work, ended], return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()  # raises what ended it


asyncio.run(main())
