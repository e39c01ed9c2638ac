/* A Modbus server for the interoperability test: ./server PORT over TCP, or
 * ./server /dev/... over a serial line at 115200 8N1.
 *
 * Holding registers 0-199 hold 3*address+1, input registers 0-99 hold
 * 7*address+2, every third coil and discrete input is on. Addresses beyond are
 * answered with exception 2. It serves one client at a time, for ever. */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill(modbus_mapping_t *map)
{
    for (int a = 0; a < 200; a++)
        map->tab_registers[a] = (uint16_t)(3 * a + 1);
    for (int a = 0; a < 100; a++)
        map->tab_input_registers[a] = (uint16_t)(7 * a + 2);
    for (int a = 0; a < 40; a++)
        map->tab_bits[a] = map->tab_input_bits[a] = a % 3 == 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: server PORT|TTY\n");
        return 2;
    }
    int rtu = argv[1][0] == '/';
    modbus_t *bus = rtu ? modbus_new_rtu(argv[1], 115200, 'N', 8, 1)
                        : modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    modbus_mapping_t *map = modbus_mapping_new(40, 40, 200, 100);
    if (bus == NULL || map == NULL || modbus_set_slave(bus, 1) != 0) {
        fprintf(stderr, "server: %s\n", modbus_strerror(errno));
        return 1;
    }
    fill(map);
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int n;
    if (rtu) {
        if (modbus_connect(bus) != 0) {
            fprintf(stderr, "connect: %s\n", modbus_strerror(errno));
            return 1;
        }
        for (;;)
            if ((n = modbus_receive(bus, query)) > 0)
                modbus_reply(bus, query, n, map);
    }
    int listener = modbus_tcp_listen(bus, 1);
    if (listener < 0) {
        fprintf(stderr, "listen: %s\n", modbus_strerror(errno));
        return 1;
    }
    while (modbus_tcp_accept(bus, &listener) >= 0) {
        while ((n = modbus_receive(bus, query)) >= 0)
            if (n > 0)
                modbus_reply(bus, query, n, map);
        modbus_close(bus);
    }
    return 0;
}
