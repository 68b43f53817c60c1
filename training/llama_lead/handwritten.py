"""News texts written by hand for the evaluation, in newsroom styles. All people and events are invented."""

from __future__ import annotations

ARTICLES = (
    "The city council voted 7-2 on Tuesday to close the Harlow Street bridge for six months, citing cracks found "
    "during a routine inspection. Drivers will be sent along the ring road from next week. Council leader Denise "
    'Okafor said the closure was unavoidable. "We looked at every alternative," she said. Shopkeepers fear the '
    "loss of passing trade. Repairs are expected to cost $4.2 million, most of it paid for by the state.",
    "WASHINGTON (Reuters) - The U.S. Federal Reserve kept interest rates steady on Wednesday and signaled that "
    "it was in no hurry to cut them. Chair Laura M. Whitfield told reporters that inflation, at 3.4 percent, was "
    "still too high. Stocks fell after the announcement, with the S&P 500 down 0.8 percent.\n\nBond yields rose. "
    "Economists at Dunmore & Co. said they now expect the first cut in September.",
    "Shares of Calder Robotics Inc. jumped 18% in early trading after the company said it had won a contract to "
    "supply warehouse robots to Brightmart, the country's second-largest grocer.\n\nThe deal, worth up to $310 "
    "million over five years, is the largest in the company's history.\n\nCalder had struggled since its listing "
    "in 2021, losing more than half of its value. Its chief executive, Tomás Rivera, called the contract “a "
    "turning point for us.”",
    "A 34-year-old man was rescued on Sunday after spending two nights in a crevasse on Mount Ellery. He had "
    "slipped while crossing the glacier alone. Rescuers heard his whistle at about 6:20 a.m. and pulled him out "
    'with ropes. "He was cold, hungry and very polite," said Anna Brandt, who led the team. Doctors at St. '
    "Brigid's Hospital said he had a broken ankle and mild hypothermia.",
    "Scientists have found a new species of frog in the cloud forests of southern Ecuador. The frog, no bigger "
    "than a thumbnail, glows faintly green under ultraviolet light. It was first heard, not seen: Dr. Elena "
    "Paredes recorded an unknown call in 2019 and spent four rainy seasons tracking it down. The findings were "
    "published in the journal Zootaxa on Friday.",
    "Is the four-day week here to stay? A year after 61 companies in Britain began a trial, 56 of them say they "
    "will keep it. Revenue held steady, sick days fell by 65 percent, and far fewer employees quit. Critics "
    "argue that the firms chose themselves and that the model won't work in hospitals or factories.",
    '"We are not leaving," said Maria Kowalski, 71, as the last buses pulled out of Lindwood. The river rose '
    "another 40 centimeters overnight, and officials warned that the old levee might not hold until morning. "
    "About 12,000 people have been evacuated since Thursday. Kowalski has lived on Mill Lane since 1968 and has "
    "seen three floods. She keeps a boat tied to the porch.",
    "Rovers 3, Albion 1. Striker Jamal Price scored twice in the second half as Rovers came from behind to win "
    "the derby in front of a record crowd of 41,207. Price, who was left out of the squad last week, scored with "
    "a header in the 58th minute and a low shot in the 83rd. Albion's manager blamed the referee. Rovers are now "
    "fourth, two points behind United.",
    "Police in Marseille have recovered a painting stolen from a private home in 1997. The small oil sketch by "
    "Édouard Vuillard was found behind a wardrobe in a flat near the port. No one has been arrested. The owner's "
    "daughter, now 80, said she had never given up hope: “My father looked for it until the day he died.”",
    "The World Health Organization said on Monday that measles cases nearly doubled last year, rising to 321,582 "
    "from 171,153. It blamed missed vaccinations during the pandemic, and it warned that more than half of the "
    "world's countries will be at high or very high risk of outbreaks by the end of the year unless urgent "
    "action is taken. Dr. N. K. Rao, who leads the agency's immunization program, said the figures were \"a "
    'wake-up call." Two doses of vaccine give 97 percent protection.',
    "Apple growers in the valley expect their smallest harvest in 30 years. A late frost in May killed most of "
    'the blossom, and then came the hail. "I\'ve got maybe one tree in ten with fruit on it," said Ted Hollis, '
    "whose family has farmed here since 1911. The state has promised low-interest loans. Cider makers are "
    "already buying from elsewhere.",
    "The airline Norvik said it would cut 1,400 jobs, or about 9 percent of its staff, and retire its last "
    "Boeing 757s as part of a plan to save 200 million euros a year. Norvik lost 87 million euros in the first "
    "half. Norvik's pilots' union called the plan “short-sighted.” Norvik shares closed 3.1 percent higher. The "
    "cuts begin in January.",
    "A school bus driver in Cedar Falls is being praised for her quick thinking. When smoke began to fill her "
    "bus at about 8 a.m. on Thursday, Patricia Lowe led all 23 children to safety. The bus was in flames two "
    "minutes later. Nobody was hurt. The cause of the fire is not yet known, the school district said in a "
    "statement.",
    "Mayor Alan Teague said on Friday he will not seek a third term. Mayor Alan Teague said two years ago that "
    "he would serve for as long as voters wanted him. The mayor gave no reason. Three members of the council are "
    "thought to want the job, among them Ruth Delgado, a former prosecutor. The election is on Nov. 4.",
    "An unmanned spacecraft launched by a start-up from New Zealand entered orbit around the Moon late on "
    "Saturday, making the company, Southern Cross Space Ltd., only the third private firm to get that far. The "
    "craft will look for ice at the south pole. It cost less than many feature films, its makers like to say. A "
    "landing attempt is planned for mid-2027.",
    "Parents of pupils at Oakfield Primary were told to keep their children at home on Monday after a burst pipe "
    "flooded six classrooms.",
)
