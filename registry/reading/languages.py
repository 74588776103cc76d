"""Names of languages, as model cards write them, to ISO 639-1 codes."""

from __future__ import annotations

import re

# ISO 639-1 with the three letters of ISO 639-2 and 639-3 for the same language; cmn, arb and pes are what cards call
# the standard form of three languages that have several.
_CODES = """
    aa=aar ab=abk ae=ave af=afr ak=aka am=amh an=arg ar=ara,arb as=asm av=ava ay=aym az=aze ba=bak be=bel bg=bul bi=bis
    bm=bam bn=ben bo=bod,tib br=bre bs=bos ca=cat ce=che ch=cha co=cos cr=cre cs=ces,cze cu=chu cv=chv cy=cym,wel da=dan
    de=deu,ger dv=div dz=dzo ee=ewe el=ell,gre en=eng eo=epo es=spa et=est eu=baq,eus fa=fas,per,pes ff=ful fi=fin
    fj=fij fo=fao fr=fra,fre fy=fry ga=gle gd=gla gl=glg gn=grn gu=guj gv=glv ha=hau he=heb hi=hin ho=hmo hr=hrv ht=hat
    hu=hun hy=arm,hye hz=her ia=ina id=ind ie=ile ig=ibo ii=iii ik=ipk io=ido is=ice,isl it=ita iu=iku ja=jpn jv=jav
    ka=geo,kat kg=kon ki=kik kj=kua kk=kaz kl=kal km=khm kn=kan ko=kor kr=kau ks=kas ku=kur kv=kom kw=cor ky=kir la=lat
    lb=ltz lg=lug li=lim ln=lin lo=lao lt=lit lu=lub lv=lav mg=mlg mh=mah mi=mao,mri mk=mac,mkd ml=mal mn=mon mr=mar
    ms=may,msa mt=mlt my=bur,mya na=nau nb=nob nd=nde ne=nep ng=ndo nl=dut,nld nn=nno no=nor nr=nbl nv=nav ny=nya oc=oci
    oj=oji om=orm or=ori os=oss pa=pan pi=pli pl=pol ps=pus pt=por qu=que rm=roh rn=run ro=ron,rum ru=rus rw=kin sa=san
    sc=srd sd=snd se=sme sg=sag sh=hbs si=sin sk=slk,slo sl=slv sm=smo sn=sna so=som sq=alb,sqi sr=srp ss=ssw st=sot
    su=sun sv=swe sw=swa ta=tam te=tel tg=tgk th=tha ti=tir tk=tuk tl=tgl tn=tsn to=ton tr=tur ts=tso tt=tat tw=twi
    ty=tah ug=uig uk=ukr ur=urd uz=uzb ve=ven vi=vie vo=vol wa=wln wo=wol xh=xho yi=yid yo=yor za=zha zh=chi,zho,cmn
    zu=zul
"""
_PAIRS = tuple(entry.split("=") for entry in _CODES.split())
_BY_NAME = {name: code for code, names in _PAIRS for name in (code, *names.split(","))}
# What follows the language: a script or a region (zh-Hans, pt_BR, eng_Latn).
_SUBTAG = re.compile(r"[-_]")


def language_of(name: str) -> str | None:
    """``en`` for ``en``, ``EN-us`` and ``eng_Latn``; None for what is no such code: ``multilingual``, ``code``."""
    return _BY_NAME.get(_SUBTAG.split(name.strip().lower(), maxsplit=1)[0])
