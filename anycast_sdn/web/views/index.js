/* The views, in the order of the menu and of the keys 1 to 7.

A view is an object:

    title      its word in the menu
    needs(app) the resources that it shows (resources.js); no others are fetched while it is open
    render(app) its content, a template
    actions    {name: (app, element, event)}: what elements with data-action="name" do when they are used
    keys       {key: (app)}: what keys do while it is open
    drawn(app) optional: its content has been put on the page
    waits(main) optional: is this a bad moment to change the picture?
    left(app)  optional: another view is opened

It reads app.value(path), app.events, app.route and app.now, and keeps nothing of its own but in app.memory(name): where it
has to be in a link, it is in the route.  A field with data-setting="name" is a setting of the route.
*/

import { events } from './events.js';
import { flows } from './flows.js';
import { map } from './map.js';
import { overview } from './overview.js';
import { services } from './services.js';
import { sites } from './sites.js';
import { who } from './who.js';

export const VIEWS = { overview, map, services, flows, sites, events, who };
